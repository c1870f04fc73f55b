"""One body that holds several events: each of them as its own text, byte for byte as it came.

What is around the list (who sent it, when) belongs to the request and is left behind, so that an event that is sent
again in another batch is the same event.
"""

import json
from collections.abc import Iterator, Mapping

from receiver import content

MOST_EVENTS = 1000
"""Events in one body; a longer one is kept whole, as a dead letter."""
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # no number is of interest, nor too long to read


def parts(headers: Mapping[str, str], body: bytes, path: str, limit: int) -> list[str] | None:
    """The text of each event in a body that has the list; None if it has none. `limit` is for the unpacked body.

    Raises `content.Unreadable`.
    """
    _, text = content.read_any(headers, body, limit)
    return elements(text.decode(), path)


def elements(text: str, path: str) -> list[str] | None:
    """The text of each element of the list at a dotted path (`@`: the text itself) of a JSON text.

    None if there is no such list, or it is empty.
    """
    try:
        return _elements(text, [] if path == "@" else path.split(".")) or None
    except (ValueError, IndexError, RecursionError):  # no JSON
        return None


def unparted(count: int) -> str:
    """Why a body of so many events that came whole is none."""
    if count > MOST_EVENTS:
        return f"the body holds {count} events; expected {MOST_EVENTS} at most"
    return f"the body holds {count} events and was not parted; has the receiver this PAYLOAD_MAP, too?"


def _elements(text: str, steps: list[str]) -> list[str] | None:
    start = _value(text, 0)
    for step in steps:
        inside = dict(_members(text, start)) if text[start] == "{" else {}
        if step not in inside:
            return None
        start = inside[step]
    return [text[begin:end] for begin, end in _items(text, start)] if text[start] == "[" else None


def _members(text: str, start: int) -> Iterator[tuple[str, int]]:
    """The names in an object and where their values begin."""
    at = _value(text, start + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        at = _value(text, _value(text, at) + 1)  # behind the colon
        yield name, at
        at = _next(text, _DECODER.raw_decode(text, at)[1])


def _items(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Where the items of a list begin and end."""
    at = _value(text, start + 1)
    while text[at] != "]":
        end = _DECODER.raw_decode(text, at)[1]
        yield at, end
        at = _next(text, end)


def _next(text: str, at: int) -> int:
    at = _value(text, at)
    return _value(text, at + 1) if text[at] == "," else at


def _value(text: str, at: int) -> int:
    """The first place from here that is no white space."""
    while text[at] in " \t\n\r":
        at += 1
    return at
