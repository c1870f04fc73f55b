"""Payloads as they may be shown: the one place through which payloads and headers reach a page or a search.

Values at masked paths are replaced before anything else looks. A body that cannot be read cannot be masked either, so
it is not shown while there are masks.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from receiver import content
from receiver.delivery import Delivery
from receiver.events.redaction import SECRET
from receiver.payload_settings import PayloadSettings
from worker.failing_test import redacted
from worker.masking import MASKED, masked

MOST_ROWS = 3000
"""Lines of a tree that a browser is asked to draw; the text below it has all."""
LONGEST = 200_000
"""Characters of a payload's text that are shown."""


class Row(NamedTuple):
    """A line of the tree: `kind` is open (a list or object begins), close, or leaf."""

    kind: str
    name: str = ""
    value: str = ""
    of: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """A payload as it may be shown. `text` is as received, or the masked JSON where something is masked."""

    headers: dict[str, str]
    text: str
    rows: Sequence[Row] = ()
    problem: str = ""
    is_masked: bool = False
    cut: bool = False


class Masking:
    """What is hidden, by the paths of CONSOLE_MASK or AUDIT_MASK."""

    def __init__(self, paths: Sequence[str], settings: PayloadSettings) -> None:
        self._paths, self.settings = paths, settings

    def shown(self, delivery: Delivery) -> Shown:
        """All that may be seen of a delivery's headers and body."""
        headers = {name: MASKED if SECRET.search(name) else value for name, value in delivery.headers.items()}
        try:
            payload, text = content.read(delivery.headers, delivery.body, self.settings.max_body_bytes)
        except content.Unreadable as error:
            if self._paths:
                return Shown(headers, "", problem=f"{error}; not shown, because nothing in it can be masked")
            return Shown(headers, delivery.body.decode("utf-8", "backslashreplace")[:LONGEST], problem=str(error))
        whole = text.decode("utf-8", "backslashreplace")
        if self._paths:
            payload = masked(payload, self._paths, self.settings.where)
            whole = json.dumps(payload, ensure_ascii=False, indent=2)
        rows = _first(MOST_ROWS, _rows("", payload))
        return Shown(headers, whole[:LONGEST], rows, "", bool(self._paths), len(whole) > LONGEST)

    def subject(self, delivery: Delivery) -> str:
        """What a delivery is about, as `Delivery.subject` says it; a masked id cannot be searched for."""
        if not self._paths:
            return delivery.subject
        try:
            payload, _ = content.read(delivery.headers, delivery.body, self.settings.max_body_bytes)
        except content.Unreadable:
            return ""
        where, payload = self.settings.where, masked(payload, self._paths, self.settings.where)
        return ":".join(where.subject(payload, where.type_of(payload)) or ())

    def sample(self, delivery: Delivery, keep: Sequence[str]) -> dict[str, Any]:
        """The payload with pseudonyms but for the paths `keep`; nothing masked is kept. Raises `content.Unreadable`."""
        payload, _ = content.read(delivery.headers, delivery.body, self.settings.max_body_bytes)
        return redacted(masked(payload, self._paths, self.settings.where), keep, self.settings)

    def pretty(self, delivery: Delivery) -> list[str]:
        """The payload's lines, indented and in order of names, for a comparison."""
        shown = self.shown(delivery)
        try:
            return json.dumps(json.loads(shown.text), ensure_ascii=False, indent=2, sort_keys=True).splitlines()
        except (ValueError, RecursionError):
            return shown.text.splitlines() or [shown.problem]


def _rows(name: str, value: Any) -> Iterator[Row]:
    match value:
        case dict():
            yield Row("open", name, of=f"{{{len(value)}}}")
            for key, part in value.items():
                yield from _rows(key, part)
            yield Row("close")
        case list():
            yield Row("open", name, of=f"[{len(value)}]")
            for number, part in enumerate(value):
                yield from _rows(str(number), part)
            yield Row("close")
        case str():
            yield Row("leaf", name, value, "text")
        case _:
            yield Row("leaf", name, json.dumps(value), "number")


def _first(most: int, rows: Iterator[Row]) -> list[Row]:
    """So many rows, and the ends of those lists and objects whose beginning is among them."""
    kept: list[Row] = []
    left_out = 0  # beginnings whose end is to come
    for row in rows:
        if row.kind == "close" and not left_out:
            kept.append(row)
        elif row.kind == "close":
            left_out -= 1
        elif len(kept) < most:
            kept.append(row)
        else:
            left_out += row.kind == "open"
    return kept
