"""payload.toml: the paths of id, type, time and subject in a customer's payloads.

    [event]
    id = ["eventGuid"]               # a dotted path, or several: the first one present is used
    type = "webhookType"
    time = "triggeredAt"
    time_zone = "Europe/Lisbon"      # for times without offset; default UTC

    [types]                          # the sender's words for Glartek's types, if neither name nor title
    "work_order.completed" = ["WO_DONE"]

    [work_order]                     # and [action]
    at = "data"                      # the object that describes it
    id = "workOrderId"               # in that object, as is every other field

Missing entries default to the paths of the kit's own receiver. Of a subject this tool needs only `at` and `id`; the
receiver reads the other fields.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from examples.sender.terminal import Refusal
from receiver import events

_PATH = re.compile(r"[^.\[\]|*?@&\s]+(\.[^.\[\]|*?@&\s]+)*")
_MILLISECONDS_FROM = 10**11  # larger Unix times are in milliseconds: in seconds this is the year 5138


@dataclass(frozen=True, slots=True)
class Subject:
    """The paths of the object that describes a Work Order or an Action, and of the id in it."""

    at: Sequence[str]
    id: Sequence[str] = ("id", "code")


@dataclass(frozen=True)
class PayloadMap:
    """The dotted paths of a payload's fields."""

    id: Sequence[str] = events.EVENT_ID_PATHS
    type: Sequence[str] = events.EVENT_TYPE_PATHS
    time: Sequence[str] = events.OCCURRED_AT_PATHS
    time_zone: tzinfo = UTC
    types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The sender's words for a type, by our name."""
    subjects: Mapping[str, Subject] = field(
        default_factory=lambda: {kind: Subject(paths) for kind, paths in events.SUBJECT_FIELDS.items()}
    )

    @cached_property
    def _words(self) -> Mapping[str, str]:
        return {events.normalised(word): name for name, words in self.types.items() for word in words}

    def after(self, other: "PayloadMap") -> "PayloadMap":
        """A map that tries these paths first, then those of the other map."""
        subjects = {
            kind: Subject((*mine.at, *other.subjects[kind].at), (*mine.id, *other.subjects[kind].id))
            for kind, mine in self.subjects.items()
        }
        if self is other:
            return self
        id_, type_, time = (*self.id, *other.id), (*self.type, *other.type), (*self.time, *other.time)
        return replace(self, id=id_, type=type_, time=time, subjects=subjects)

    def named(self, words: str) -> str:
        """Our name for a type in the sender's words; the words themselves if they are unknown."""
        return self._words.get(events.normalised(words)) or events.canonical(words)

    def type_of(self, payload: Any) -> str | None:
        """The event's type; None if the payload has none."""
        words = events.first_text(payload, self.type)
        return None if words is None else self.named(words)

    def id_of(self, payload: Any) -> str | None:
        return events.first_text(payload, self.id)

    def time_of(self, payload: Any) -> datetime | None:
        """The event's time, with time zone; None if it is missing or cannot be parsed."""
        for value in (events.at_path(payload, path) for path in self.time):
            if isinstance(value, int | float) and not isinstance(value, bool):
                return unix_time(value)
            if isinstance(value, str) and value:
                return self._parsed(value)
        return None

    def subjects_of(self, payload: Any) -> Iterable[tuple[dict[str, Any], Sequence[str]]]:
        """Each object in the payload that describes a subject, with the paths of its id."""
        for subject in self.subjects.values():
            found = (events.at_path(payload, path) for path in subject.at)
            yield from ((part, subject.id) for part in found if isinstance(part, dict))

    def _parsed(self, text: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=self.time_zone)


OURS = PayloadMap()
"""The default paths of the kit's own receiver."""


def unix_time(value: float) -> datetime | None:
    """A Unix time in seconds or milliseconds; None if the number is out of range."""
    try:
        return datetime.fromtimestamp(value / (1000 if abs(value) >= _MILLISECONDS_FROM else 1), UTC)
    except (OverflowError, ValueError, OSError):
        return None


def from_file(file: Path) -> PayloadMap:
    """Read the map from a TOML file. Raises `Refusal`, which names the entry and what was expected."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    for name in ("event", "types", *OURS.subjects):
        if not isinstance(tables.get(name, {}), dict):
            raise Refusal(f"{file}: {name}: expected a table, [{name}]")
    event: dict[str, Any] = tables.get("event", {})
    paths = {name: _paths(f"{file}: event.{name}", event[name]) for name in ("id", "type", "time") if name in event}
    zone = _zone(f"{file}: event.time_zone", event.get("time_zone"))
    return replace(OURS, **paths, time_zone=zone, types=_types(file, tables), subjects=_subjects(file, tables))


def as_toml(event: Mapping[str, Sequence[str]], subjects: Mapping[str, Subject]) -> str:
    """The content of payload.toml for these paths."""
    lines = ["# Where the fields of the payloads are: dotted paths, the first that is there counts."]
    lines += ["[event]", *(f"{name} = {_list(paths)}" for name, paths in event.items())]
    for kind, subject in subjects.items():
        lines += ["", f"[{kind}]", f"at = {_list(subject.at)}", f"id = {_list(subject.id)}"]
    return "\n".join(lines) + "\n"


def _list(paths: Sequence[str]) -> str:
    """A list as TOML: its strings are those of JSON, but DEL must be escaped too."""
    return json.dumps(list(paths), ensure_ascii=False).replace("\x7f", "\\u007f")


def _types(file: Path, tables: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    types: dict[str, Any] = tables.get("types", {})
    for name, words in types.items():
        if name not in events.BY_NAME:
            raise Refusal(f"{file}: types: there is no event type {name!r}; expected {', '.join(events.BY_NAME)}")
        if not all(isinstance(word, str) for word in _listed(words)):
            raise Refusal(f'{file}: types.{name}: expected the sender\'s words for it, such as ["WO_DONE"]')
    return {name: _listed(words) for name, words in types.items()}


def _subjects(file: Path, tables: Mapping[str, Any]) -> Mapping[str, Subject]:
    found = {}
    for kind, ours in OURS.subjects.items():
        table: dict[str, Any] = tables.get(kind, {})
        at = _paths(f"{file}: {kind}.at", table["at"]) if "at" in table else ours.at
        found[kind] = Subject(at, _paths(f"{file}: {kind}.id", table["id"]) if "id" in table else ours.id)
    return found


def _paths(where: str, value: Any) -> Sequence[str]:
    paths = _listed(value)
    if not paths or not all(isinstance(path, str) and _PATH.fullmatch(path) for path in paths):
        raise Refusal(f'{where}: expected a dotted path, or a list of them, such as ["id", "meta.eventId"]')
    return paths


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _zone(where: str, value: Any) -> tzinfo:
    if value is None:
        return UTC
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise Refusal(f'{where}: expected the name of a time zone, such as "Europe/Lisbon", got {value!r}') from None
