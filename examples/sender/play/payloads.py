"""Makes the payload of an event from the sample of its type, with fresh, consistent ids.

The samples are the kit's own invention: Glartek does not document its payloads. `Samples.from_folder` reads a
customer's real payloads instead, and a `PayloadMap` has the paths of their fields.
"""

import copy
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from examples.sender.http.message import Message
from examples.sender.payload_map import OURS, PayloadMap, after, subjects_of
from examples.sender.terminal import Refusal
from receiver import events
from receiver.events.paths import DOTTED
from receiver.nearest import nearest

INVENTED = "These samples are this kit's own invention: Glartek does not document its payloads."
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?P<sep>[T ])(?P<time>\d\d:\d\d:\d\d)(?P<rest>(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONG = 6


@dataclass(frozen=True)
class Samples:
    """Payloads by type, the kit's own or a customer's real ones; a type may have several."""

    by_type: Mapping[str, Sequence[dict[str, Any]]]
    where: PayloadMap = OURS
    note: str = ""
    """A note on their origin, for reports."""

    @classmethod
    def ours(cls, where: PayloadMap = OURS) -> "Samples":
        """The kit's own samples; `where` may add other names of types and paths."""
        ours = {event_type.name: [event_type.sample()] for event_type in events.CATALOG}
        return cls(ours, after(where, OURS), INVENTED)

    @classmethod
    def from_folder(cls, folder: Path, where: PayloadMap = OURS) -> "Samples":
        """One JSON object per `*.json` file; the type is in the payload, or else the file's name."""
        files = sorted(folder.glob("*.json"))
        if not files:
            raise Refusal(f"{folder}: expected a folder with *.json files, one payload in each")
        by_type: dict[str, list[dict[str, Any]]] = {}
        for file in files:
            name, payload = _read(file, where)
            by_type.setdefault(name, []).append(payload)
        return cls(by_type, where)

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """All payloads."""
        return [payload for payloads in self.by_type.values() for payload in payloads]

    def named(self, words: str) -> str:
        """The type with this name or title, in any case and punctuation; raises `Refusal` if unknown."""
        name = self.where.named(words)
        if name in self.by_type:
            return name
        raise Refusal(
            f"there is no event type {words!r} (any other goes out with: send action.created --set type=YOUR.TYPE)"
            f"{nearest(name.casefold(), self.by_type)}"
        )


class Story:
    """Events about the same Work Order and Action: each has its own event id, all other ids are shared.

    With the same `rng` state and `now` the payloads are byte-identical. `now` is the time of the event: the sample's
    times are moved accordingly; None keeps them.
    """

    def __init__(self, rng: Random, samples: Samples | None = None) -> None:
        self.rng = rng
        self.samples = samples or Samples.ours()
        self._renamed: dict[str, str] = {}
        self._numbers: dict[int, int] = {}

    def event(self, event_type: str, now: datetime | None = None, index: int = 0) -> dict[str, Any]:
        """The payload of a type, given as in `Samples.named`; raises `Refusal` if it is unknown.

        `index` selects one of several samples of the type.
        """
        listed = self.samples.by_type[self.samples.named(event_type)]
        sample, where = copy.deepcopy(listed[index % len(listed)]), self.samples.where
        ids = [part[name] for part, name in _subject_ids(sample, where) if isinstance(part[name], str)]
        renamed = {old: self._renamed.setdefault(old, like(old, self.rng)) for old in ids}
        occurred_at = where.time_of(sample)
        later = now - occurred_at if now and occurred_at else timedelta()
        payload: dict[str, Any] = _retold(sample, renamed, later)
        for part, name in _subject_ids(payload, where):
            if isinstance(part[name], int):  # only in id fields: elsewhere the same number may have another meaning
                part[name] = self._numbers.setdefault(part[name], self.rng.randrange(1, 10**9))
        _move_unix_time(payload, where, later)
        _renew_id(payload, where, self.rng)
        return payload

    def beside(self, rng: Random) -> "Story":
        """A new story with the same ids so far: for an Action raised in this Work Order."""
        other = Story(rng, self.samples)
        other._renamed, other._numbers = dict(self._renamed), dict(self._numbers)
        return other

    def message(self, event_type: str, now: datetime | None = None, index: int = 0) -> Message:
        """As `event`, as a message."""
        return Message.of(self.event(event_type, now, index), self.samples.where)


def fresh(event_type: str, rng: Random, now: datetime | None = None) -> Message:
    """An event of this type, about its own Work Order or Action."""
    return Story(rng).message(event_type, now)


def randomness(seed: int | None) -> tuple[Random, datetime | None]:
    """The source of ids and the time of events. With a seed both are repeatable: the samples' times are kept."""
    return (Random(seed), None) if seed is not None else (Random(), datetime.now(UTC))


def like(value: str, rng: Random) -> str:
    """A random id of the same form: `wo_5d2c81` becomes `wo_` and six other hexadecimal digits."""
    kept = 0 if _UUID.fullmatch(value) else max(value.rfind(mark) for mark in "_-:/.") + 1
    alphabet = "0123456789abcdef" if not value[kept:].isdecimal() else "0123456789"
    if value[kept:].isupper():
        alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return value[:kept] + "".join(rng.choice(alphabet) if letter.isalnum() else letter for letter in value[kept:])


def _subject_ids(sample: dict[str, Any], where: PayloadMap) -> Iterable[tuple[dict[str, Any], str]]:
    """(object, field name) of each id of a Work Order or an Action, once each."""
    seen: set[tuple[int, str]] = set()
    for subject, paths in subjects_of(where, sample):
        for part, path in itertools.product((subject, subject.get("work_order")), paths):
            holder, name = _holder(part, path) if isinstance(part, dict) else (None, "")
            value = holder.get(name) if holder else None
            is_id = (isinstance(value, str) and value) or (isinstance(value, int) and not isinstance(value, bool))
            if holder and is_id and (id(holder), name) not in seen:
                seen.add((id(holder), name))
                yield holder, name


def _renew_id(payload: dict[str, Any], where: PayloadMap, rng: Random) -> None:
    for path in where.id:
        holder, last = _holder(payload, path)
        value = holder.get(last) if holder else None
        if holder and isinstance(value, str) and value:
            holder[last] = like(value, rng)
            return
        if holder and isinstance(value, int) and not isinstance(value, bool):
            holder[last] = rng.randrange(1, 10 ** max(len(str(value)), 9))
            return


def _move_unix_time(payload: dict[str, Any], where: PayloadMap, later: timedelta) -> None:
    """Move a numeric time; only at the configured path a number is known to be a time."""
    for path in where.time:
        holder, last = _holder(payload, path)
        value = holder.get(last) if holder else None
        if holder and isinstance(value, int | float) and not isinstance(value, bool):
            milliseconds = abs(value) >= 10**11
            holder[last] = type(value)(value + later.total_seconds() * (1000 if milliseconds else 1))
            return


def _holder(payload: dict[str, Any], path: str) -> tuple[dict[str, Any] | None, str]:
    """The object that contains the last step of a dotted path, if it exists, and that step."""
    if not DOTTED.fullmatch(path):
        return None, ""
    steps, _, last = path.rpartition(".")
    holder = events.at_path(payload, steps) if steps else payload
    return (holder if isinstance(holder, dict) else None), last


def _retold(value: Any, renamed: Mapping[str, str], later: timedelta) -> Any:
    if isinstance(value, dict):
        return {name: _retold(part, renamed, later) for name, part in value.items()}
    if isinstance(value, list):
        return [_retold(part, renamed, later) for part in value]
    if not isinstance(value, str):
        return value
    if time := _TIME.fullmatch(value):
        return _moved(time, later) if later else value
    for (
        old,
        new,
    ) in renamed.items():  # replace a long id also inside texts such as URLs; a short one could match by chance
        value = value.replace(old, new) if len(old) >= _LONG else (new if value == old else value)
    return value


def _moved(time: re.Match[str], later: timedelta) -> str:
    """The time moved, in the same form: separator, fraction and offset stay."""
    try:
        moment = datetime.fromisoformat(f"{time['date']} {time['time']}") + later
    except (ValueError, OverflowError):
        return time[0]
    return f"{moment.date()}{time['sep']}{moment:%H:%M:%S}{time['rest']}"


def _read(file: Path, where: PayloadMap) -> tuple[str, dict[str, Any]]:
    try:
        payload = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refusal(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{file}: expected one JSON object: {error}") from None
    if not isinstance(payload, dict):
        raise Refusal(f"{file}: expected one JSON object, not a {type(payload).__name__}")
    payload.pop("$comment", None)
    return where.type_of(payload) or where.named(file.stem), payload
