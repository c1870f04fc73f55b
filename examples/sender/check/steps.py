"""A customer's acceptance test as data: the events, their order, and the effects expected at the end.

    [[step]]
    name = "created"                     # so that other steps can refer to it
    send = "work_order.created"          # a type: its sample with fresh ids and times
    set = { "work_order.name" = "Pump 7" }

    [[step]]
    wait = 1.5                           # seconds

    [[step]]
    name = "done"
    send = "work_order.completed"        # about the same Work Order, unless `about` has another name
    set = { "work_order.parent" = "{created.work_order.id}" }
    effects = 1                          # how often it must have taken effect at the end

    [[step]]
    again = "done"                       # sends the same bytes again; `file = "x.json"` sends a file's bytes
    times = 2
    status = [200]                       # default: 200 or 201

All steps are read, made and checked before the first event is sent.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from examples.sender.http.delivery import SUCCESS
from examples.sender.http.message import Message
from examples.sender.play import edits
from examples.sender.play.payloads import Samples, Story
from examples.sender.terminal import Refusal
from receiver import events
from receiver.nearest import nearest

_KEYS = {"name", "send", "file", "again", "wait", "about", "set", "remove", "times", "status", "effects"}
_ONE_OF = ("send", "file", "again", "wait")
_REFERENCE = re.compile(r"\{([\w-]+)\.([^{}]+)\}")
_MOST_TIMES = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """One event and how often it is sent, or a pause of so many seconds."""

    name: str
    wait: float = 0.0
    message: Message | None = None
    times: int = 1
    statuses: frozenset[int] = SUCCESS
    effects: int | None = None


@dataclass
class Maker:
    """Makes the steps of a file; raises `Refusal`, which names the wrong step."""

    file: Path
    samples: Samples
    rng: Random
    now: datetime | None
    extra: Mapping[str, str] = field(default_factory=dict)
    """The user's additional headers."""
    stories: dict[str, Story] = field(default_factory=dict)
    payloads: dict[str, Any] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)

    def steps(self) -> list[Step]:
        """All steps, in order."""
        try:
            tables = tomllib.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Refusal(f"{self.file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        listed = tables.get("step")
        if not isinstance(listed, list) or not listed or set(tables) != {"step"}:
            raise Refusal(f"{self.file}: expected [[step]] tables, and nothing else")
        return [self._step(number, table) for number, table in enumerate(listed, 1)]

    def _step(self, number: int, table: Any) -> Step:
        try:
            return self._made(f"step {number}", table)
        except Refusal as refusal:
            raise Refusal(f"{self.file}, step {number}: {refusal}") from None

    def _made(self, numbered: str, table: Any) -> Step:
        _check_keys(table)
        name = str(table.get("name", numbered))
        if name in self.messages:
            raise Refusal(f"name: there is a step {name!r} already")
        if "wait" in table:
            return Step(name, wait=_number(table, "wait", 0, 86400))
        message = self.messages[name] = self._message(name, table).having(self.extra)
        effects = int(_number(table, "effects", 0, _MOST_TIMES)) if "effects" in table else None
        if effects is not None and not message.id:
            raise Refusal("effects: this event has no id to count its effects by")
        return Step(name, 0.0, message, int(_number(table, "times", 1, _MOST_TIMES, 1)), _statuses(table), effects)

    def _message(self, name: str, table: Mapping[str, Any]) -> Message:
        if "again" in table:
            return self.messages[self._named(table["again"])]
        if "file" in table:
            return self._from_file(self.file.parent / str(table["file"]))
        story = self.stories.setdefault(str(table.get("about", "")), Story(self.rng, self.samples))
        payload = story.event(str(table["send"]), self.now)
        for path in table.get("remove", []):
            edits.remove(payload, path)
        for path, value in table.get("set", {}).items():
            edits.put(payload, path, self._filled(value))
        self.payloads[name] = payload
        return Message.of(payload, self.samples.where)

    def _from_file(self, file: Path) -> Message:
        try:
            return Message.raw(file.read_bytes(), self.samples.where)
        except OSError as error:
            raise Refusal(f"{file}: cannot be read: {error.strerror}") from None

    def _filled(self, value: Any) -> Any:
        """A value with references `{step.path}` replaced; a reference alone keeps the type of its target."""
        if isinstance(value, dict):
            return {key: self._filled(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._filled(part) for part in value]
        if not isinstance(value, str):
            return value
        if whole := _REFERENCE.fullmatch(value):
            return self._referred(whole)
        return _REFERENCE.sub(lambda reference: str(self._referred(reference)), value)

    def _referred(self, reference: re.Match[str]) -> Any:
        found = events.at_path(self.payloads.get(self._named(reference[1])), reference[2])
        if found is None:
            raise Refusal(f"{reference[0]}: the event of step {reference[1]!r} has nothing at {reference[2]}")
        return found

    def _named(self, name: Any) -> str:
        if name in self.messages:
            return str(name)
        raise Refusal(f"there is no earlier step {name!r}{nearest(str(name), self.messages)}")


def _check_keys(table: Any) -> None:
    if not isinstance(table, dict):
        raise Refusal("expected a [[step]] table")
    for key in table:
        if key not in _KEYS:
            raise Refusal(f"{key}: there is no such key{nearest(key, _KEYS)}")
    if sum(key in table for key in _ONE_OF) != 1:
        raise Refusal('expected one of send = "TYPE", file = "FILE", again = "STEP" or wait = SECONDS')
    for key in ("set", "remove", "about"):
        if key in table and "send" not in table:
            raise Refusal(f"{key}: this goes with send = alone; a file and a repetition are sent as they are")
    if not isinstance(table.get("set", {}), dict) or not isinstance(table.get("remove", []), list):
        raise Refusal('expected set = { "dotted.path" = value } and remove = ["dotted.path"]')


def _number(table: Mapping[str, Any], key: str, low: float, high: float, default: float | None = None) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refusal(f"{key}: expected a number from {low:g} to {high:g}, got {value!r}")
    return value


def _statuses(table: Mapping[str, Any]) -> frozenset[int]:
    listed = table.get("status", list(SUCCESS))
    listed = listed if isinstance(listed, list) else [listed]
    if not listed or not all(type(status) is int and 100 <= status <= 599 for status in listed):  # noqa: PLR2004 - HTTP's
        raise Refusal(f"status: expected a status, or a list of them, such as [200], got {table.get('status')!r}")
    return frozenset(listed)
