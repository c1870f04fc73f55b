"""What is sent: an event of a type, made from its sample with fresh, consistent ids, and its bytes on the wire.

The samples are the kit's own invention: Glartek does not document its payloads. A folder of a customer's real ones
takes their place with `Samples.from_folder`, and a `PayloadMap` says where their fields are.
"""

import copy
import difflib
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
from examples.sender.payload_map import OURS, PayloadMap
from examples.sender.terminal import Refusal
from receiver import events

INVENTED = "These samples are this kit's own invention: Glartek does not document its payloads."
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)(?P<sep>[T ])(?P<time>\d\d:\d\d:\d\d)(?P<rest>(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONG = 6


@dataclass(frozen=True)
class Samples:
    """Payloads by type, the kit's own or a customer's real ones, in turn where a type has several."""

    by_type: Mapping[str, Sequence[dict[str, Any]]]
    where: PayloadMap = OURS
    note: str = ""
    """What a report says of them."""

    @classmethod
    def ours(cls, where: PayloadMap = OURS) -> "Samples":
        """The kit's own. Their fields are where the kit looks; `where` may have other words for the types."""
        ours = {event_type.name: [event_type.sample()] for event_type in events.CATALOG}
        return cls(ours, where.after(OURS), INVENTED)

    @classmethod
    def from_folder(cls, folder: Path, where: PayloadMap = OURS) -> "Samples":
        """One JSON object per `*.json` file; its type is what the payload says, or else the file's name."""
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
        """All of them."""
        return [payload for payloads in self.by_type.values() for payload in payloads]

    def named(self, words: str) -> str:
        """The type that these words mean: its name or Glartek's title, in any case and punctuation."""
        name = self.where.named(words)
        if name in self.by_type:
            return name
        near = difflib.get_close_matches(name.casefold(), self.by_type, n=3, cutoff=0.4) or list(self.by_type)
        raise Refusal(
            f"there is no event type {words!r}; did you mean {' or '.join(near)}? "
            "Any other type goes out with: send action.created --set type=YOUR.TYPE"
        )


class Story:
    """Events that tell of the same Work Order and Action: each has an id of its own, they share all the others.

    With the same `rng` state and `now` the payloads are the same, byte for byte. `now` moves the sample's times so
    that the event happened then; None leaves them as they are.
    """

    def __init__(self, rng: Random, samples: Samples | None = None) -> None:
        self.rng = rng
        self.samples = samples or Samples.ours()
        self._renamed: dict[str, str] = {}
        self._numbers: dict[int, int] = {}

    def event(self, event_type: str, now: datetime | None = None, turn: int = 0) -> dict[str, Any]:
        """The payload of a type, as `Samples.named` understands it; raises `Refusal` for an unknown one.

        `turn` chooses among several samples of the type.
        """
        listed = self.samples.by_type[self.samples.named(event_type)]
        sample, where = copy.deepcopy(listed[turn % len(listed)]), self.samples.where
        ids = [part[name] for part, name in _subject_ids(sample, where) if isinstance(part[name], str)]
        renamed = {old: self._renamed.setdefault(old, like(old, self.rng)) for old in ids}
        occurred_at = where.time_of(sample)
        later = now - occurred_at if now and occurred_at else timedelta()
        payload: dict[str, Any] = _retold(sample, renamed, later)
        for part, name in _subject_ids(payload, where):
            if isinstance(part[name], int):  # only here: elsewhere the same number may mean something else
                part[name] = self._numbers.setdefault(part[name], self.rng.randrange(1, 10**9))
        _move_unix_time(payload, where, later)
        _renew_id(payload, where, self.rng)
        return payload

    def beside(self, rng: Random) -> "Story":
        """Another story about the same Work Order, as far as it was told: of an Action that was raised in it."""
        other = Story(rng, self.samples)
        other._renamed, other._numbers = dict(self._renamed), dict(self._numbers)
        return other

    def message(self, event_type: str, now: datetime | None = None, turn: int = 0) -> Message:
        """The same, as it goes out."""
        return Message.of(self.event(event_type, now, turn), self.samples.where)


def fresh(event_type: str, rng: Random, now: datetime | None = None) -> Message:
    """An event of this type about a Work Order or an Action of its own."""
    return Story(rng).message(event_type, now)


def randomness(seed: int | None) -> tuple[Random, datetime | None]:
    """The source of ids and the time of events: a seed repeats both, so its times stay the sample's own."""
    return (Random(seed), None) if seed is not None else (Random(), datetime.now(UTC))


def like(value: str, rng: Random) -> str:
    """Another id that looks like this one: `wo_5d2c81` becomes `wo_` and six other hexadecimal digits."""
    kept = 0 if _UUID.fullmatch(value) else max(value.rfind(mark) for mark in "_-:/.") + 1
    alphabet = "0123456789abcdef" if not value[kept:].isdecimal() else "0123456789"
    if value[kept:].isupper():
        alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return value[:kept] + "".join(rng.choice(alphabet) if letter.isalnum() else letter for letter in value[kept:])


def _subject_ids(sample: dict[str, Any], where: PayloadMap) -> Iterable[tuple[dict[str, Any], str]]:
    """The objects that hold the ids of a Work Order or an Action, each with the field's name; each once."""
    seen: set[tuple[int, str]] = set()
    for subject, paths in where.subjects_of(sample):
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
    """A time that is a number is only known to be one at its own path."""
    for path in where.time:
        holder, last = _holder(payload, path)
        value = holder.get(last) if holder else None
        if holder and isinstance(value, int | float) and not isinstance(value, bool):
            milliseconds = abs(value) >= 10**11
            holder[last] = type(value)(value + later.total_seconds() * (1000 if milliseconds else 1))
            return


def _holder(payload: dict[str, Any], path: str) -> tuple[dict[str, Any] | None, str]:
    """The object that has the last step of a path, if there is one."""
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
    for old, new in renamed.items():  # a long id is also renamed inside a URL; a short one would hit other text
        value = value.replace(old, new) if len(old) >= _LONG else (new if value == old else value)
    return value


def _moved(time: re.Match[str], later: timedelta) -> str:
    """A time so much later, in the form that it had: its separator, its fraction, its offset or none."""
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
