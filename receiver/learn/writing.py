"""What was learned, as the text of payload.toml: each entry with how sure it is and why, open ones as comments."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from receiver.events import KINDS
from receiver.events.payload_file import entry
from receiver.learn.learned import Entry, Learned
from receiver.visible import visible

_HEAD = """\
# Where the fields of the payloads are. Written by `python -m receiver learn` from {events} events; edit it as you like.
# Behind each entry: how sure it is (1.00 is certain), and why; without a number it is as you wrote it. A line that
# begins with # is a question to you.
"""


def as_toml(learned: Learned, before: Mapping[str, Any], zone: str | None) -> str:
    """The file; `before` are the tables of the one that is there, whose words, values and zone stay."""
    sections = [_HEAD.format(events=len(learned.events)), "[event]", *_entries(learned, "event")]
    sections += _rest_of_event(learned, before.get("event", {}), zone)
    if words := list(_types(learned, before.get("types", {}))):
        sections += ["", "[types]", *words]
    for kind in KINDS:
        values = before.get(kind, {}).get("values", {})
        if lines := [*_entries(learned, kind), *_kept(learned, kind, before.get(kind, {}))]:
            sections += ["", f"[{kind}]", *lines]
        numbers = learned.numbers.get(kind, {})
        if values or numbers:
            sections += ["", f"[{kind}.values]", *_values(values, numbers)]
    return "\n".join(sections) + "\n"


def _entries(learned: Learned, table: str) -> Iterator[str]:
    for one in learned.entries:
        if one.table == table:
            yield from _lines(one)


def _lines(one: Entry) -> Iterator[str]:
    if one.chosen:
        sure = "" if one.confidence is None else f"{one.confidence:.2f}: "
        yield f"{entry(one.name, one.chosen)}  # {sure}{visible(one.reason, 200)}"
        return
    which = "which of these is it?" if len(one.candidates) > 1 else "is it this?"
    yield f"# {one.name}: {which}"
    for candidate in one.candidates:
        line = f"{entry(one.name, [candidate.path])}  # {candidate.confidence:.2f}: {visible(candidate.reason, 200)}"
        yield f"# {line}"


def _rest_of_event(learned: Learned, event: Mapping[str, Any], zone: str | None) -> Iterator[str]:
    chosen = zone or event.get("time_zone")
    if chosen:
        yield f"time_zone = {_text(chosen)}"
    elif learned.without_offset:
        yield f'# time_zone = "Europe/Lisbon"  # {visible(learned.without_offset)} has no offset: in which zone is it?'
    if path := learned.batch or event.get("batch"):
        yield f"batch = {_text(path)}"
    yield from _kept(
        learned, "event", {name: part for name, part in event.items() if name not in {"time_zone", "batch"}}
    )


def _types(learned: Learned, types: Mapping[str, Any]) -> Iterator[str]:
    for name, words in types.items():
        yield f"{_text(name)} = {_text(words)}"
    for word, nearest in learned.words.items():
        yield f"# {_text(nearest or '?')} = [{_text(word)}]  # which type is {visible(repr(word))}?"


def _values(values: Mapping[str, Any], numbers: Mapping[str, list[str]]) -> Iterator[str]:
    for name, meanings in values.items():
        yield f"{name} = {_table(meanings)}"
    for name, seen in numbers.items():
        yield f"# {name} = {_table(dict.fromkeys(seen, '?'))}  # what do these numbers mean?"


def _kept(learned: Learned, table: str, entries: Mapping[str, Any]) -> Iterator[str]:
    """What the file of before has and no sample speaks of."""
    told = {one.name for one in learned.entries if one.table == table}
    for name, paths in entries.items():
        if name not in told and name != "values":
            yield f"{entry(name, paths if isinstance(paths, list) else [paths])}  # as it was: no sample has it"


def _table(meanings: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{_text(value)} = {_text(word)}" for value, word in meanings.items()) + " }"


def _text(value: Any) -> str:
    """As TOML, whose strings and lists are JSON's but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
