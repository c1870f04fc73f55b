"""Where a payload's fields are: which event it is, what happened, when, and to what.

One map for the receiver, the worker and the commands, so that all of them find the same; `payload.toml` says what each
entry means, `payload_file.py` reads it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import cached_property, lru_cache
from typing import Any

from receiver import events
from receiver.events import times
from receiver.events.paths import DOTTED, Find, Paths

FROM_TOP = "$."
"""Begins the path of a subject's field that is not in the object that describes the subject."""


def _is_key(path: str) -> bool:
    return "." not in path and DOTTED.fullmatch(path) is not None


class Field:
    """Where one field of a subject may be, and what the sender's values of it mean."""

    def __init__(self, paths: Sequence[str], values: Mapping[str, str] | None = None) -> None:
        self.paths, self.values = tuple(paths), dict(values or {})
        inner = Paths(path.removeprefix(FROM_TOP) for path in self.paths)
        self._finders: list[tuple[str, Find, bool]] = [
            (path, find, path.startswith(FROM_TOP)) for path, find in zip(self.paths, inner.finders, strict=True)
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Field) and (self.paths, self.values) == (other.paths, other.values)

    def __hash__(self) -> int:
        return hash(self.paths)

    @property
    def is_plain(self) -> bool:
        """Whether it is read by name alone."""
        return not self.values and all(map(_is_key, self.paths))

    def found(self, part: Any, payload: Any) -> Iterator[tuple[str, Any]]:
        """Each path that leads to a value, with the value as it is meant, in `part` or from the top of `payload`."""
        for path, find, from_top in self._finders:
            if (value := find(payload if from_top else part)) is not None:
                yield path, self._meant(value) if self.values else value

    def _meant(self, value: Any) -> Any:
        """What a value means: by its text, as JSON spells it."""
        if isinstance(value, list | dict):
            return value
        text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
        return self.values.get(text, value)


@dataclass(frozen=True)
class Subject:
    """Where a payload describes its Work Order or Action, the subject's id in that object, and every other field."""

    at: Paths
    id: Paths
    fields: Mapping[str, Field] = field(default_factory=dict)

    def part(self, payload: Any) -> dict[str, Any] | None:
        """The object that describes the subject; None when there is none."""
        for find in self.at.finders:
            if isinstance(value := find(payload), dict):
                return value
        return None

    def view(self, part: dict[str, Any], payload: Any) -> dict[str, Any]:
        """The fields by the kit's names; what no field is made of is kept under its own name."""
        names, plain, others = self._plan
        found = {name: value for name, value in part.items() if name not in names}
        for name, keys in plain:
            for key in keys:
                if (value := part.get(key)) is not None:
                    found[name] = value
                    break
        for name, where in others:
            for _, value in where.found(part, payload):
                found[name] = value
                break
        return found

    @cached_property
    def _plan(self) -> tuple[frozenset[str], list[tuple[str, tuple[str, ...]]], list[tuple[str, Field]]]:
        """What the fields are made of, and their names, because another field of such a name is no value of it; then
        the fields that are read by name alone, and all others.
        """
        keys = {path for where in self.fields.values() for path in where.paths if _is_key(path)}
        plain = [(name, where.paths) for name, where in self.fields.items() if where.is_plain]
        others = [(name, where) for name, where in self.fields.items() if not where.is_plain]
        return frozenset({*self.fields, *keys}), plain, others


@dataclass(frozen=True)
class PayloadMap:
    """Where to look in a payload. `zone` is that of times without an offset; without one, these are not read."""

    id: Paths
    type: Paths
    time: Paths
    actor: Paths
    subjects: Mapping[str, Subject]
    types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By our name for a type, the sender's own words for it."""
    zone: tzinfo | None = None
    batch: str | None = None
    """The dotted path of the list, where one body holds several events."""

    def id_of(self, payload: Any) -> str | None:
        """The event's id, of any length; None when it has none."""
        return self.id.text(payload)

    def type_of(self, payload: Any) -> str:
        """The event type that a payload names, ours or in the sender's own words; "" when it names none."""
        return self.named(self.type.text(payload) or "")[: events.LONGEST_NAME]

    @cached_property
    def named(self) -> Callable[[str], str]:
        """Our name for a type in the sender's own words, or those words unchanged when we know no such type."""
        if not self.types:
            return events.canonical
        names = {events.normalised(word): name for name, words in self.types.items() for word in words}

        @lru_cache(maxsize=1024)  # bounded: the words come from outside
        def named(words: str) -> str:
            return names.get(events.normalised(words)) or events.canonical(words)

        return lambda words: named(words) if len(words) <= events.LONGEST_NAME else words

    def time_of(self, payload: Any) -> datetime | None:
        """When it happened, aware: the first time that can be read at one of the paths."""
        for find in self.time.finders:
            if (value := find(payload)) is not None and (time := times.read(value, self.zone)):
                return time
        return None

    def subject(self, payload: Any, event_type: str) -> tuple[str, str] | None:
        """Kind and id of the Work Order or Action that an event is about: in receiver, event and reports."""
        kind = event_type.partition(".")[0]
        subject = self.subjects.get(kind)
        if subject is None or (part := subject.part(payload)) is None:
            return None
        subject_id = subject.id.text(part)
        return (kind, events.identifier(subject_id)) if subject_id else None

    def view(self, payload: Any, kind: str) -> dict[str, Any] | None:
        """The fields of a payload's Work Order or Action, by the kit's names; None when it has none."""
        subject = self.subjects[kind]
        part = subject.part(payload)
        return None if part is None else subject.view(part, payload)
