"""Makes text from outside safe to show: truncates it, then escapes control and formatting characters.

A sender's text can hold an escape sequence that writes to the clipboard (OSC 52), C1 controls, bidirectional overrides
that reverse the shown text, or a megabyte. All text that people read (log lines, tables, errors) passes through here;
output for programs is JSON with the same characters escaped. Uses only the standard library.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LONGEST = 500
"""Most characters of one value in a log line or a table."""
_LONGEST_TEXT = 20_000  # most characters of a text with several lines: a traceback, a payload
_MOST_ITEMS = 20  # of a list or an object in a log line; a longer one is shown as one text
# C0, DEL and C1 controls, bidirectional embeddings, overrides and isolates, line separators, lone surrogates
_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")  # json escapes C0 itself


def visible(text: str, limit: int = LONGEST) -> str:
    r"""A text in one line, truncated with `…` to `limit` characters, with escapes such as `\x1b` for controls."""
    if len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    return text if text.isprintable() else _UNSAFE.sub(_escaped, text)


def visible_lines(text: str, limit: int = _LONGEST_TEXT) -> str:
    """As `visible`, but line breaks stay."""
    if len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    return "\n".join([visible(line, limit) for line in text.split("\n")])


def to_json(value: Any, indent: int | None = 2) -> str:
    """JSON as every command writes it: letters unescaped, control and formatting characters escaped.

    A value of a type that JSON lacks becomes its `repr`.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=repr)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def iso(ms: float) -> str:
    """A Unix time in ms as every command writes it: ISO 8601 in UTC."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="milliseconds")


def in_log(line: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a log line, names and values visible and short; `exception` may have several lines."""
    return {
        visible(name): visible_lines(str(value)) if name == "exception" else _shown(value)
        for name, value in line.items()
    }


def _shown(value: Any, *, nested: bool = False) -> Any:
    if isinstance(value, str):
        return visible(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping) and not nested and len(value) <= _MOST_ITEMS:
        return {visible(str(name)): _shown(part, nested=True) for name, part in value.items()}
    if isinstance(value, list | tuple) and not nested and len(value) <= _MOST_ITEMS:
        return [_shown(part, nested=True) for part in value]
    return visible(repr(value))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
