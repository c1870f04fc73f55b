"""A dead letter as a value, which of them are meant, and which belong together: for commands and console alike."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from receiver.delivery import Delivery
from receiver.environment import SettingsError, duration
from receiver.queue.jobs import unpack

MOST_GROUPS = 1000
"""Groups told apart; reasons come from outside, and what is in none of these is counted together."""
OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept. `kind` is dead, conflict or job; `at` is when it died; `tries` counts its attempts.

    `accepted` is when its delivery was accepted, `at` where that is not known. `holds` says that later events of the
    same Work Order or Action wait for it, `elsewhere` that its payload is in a file of a receiver's host.
    `job` is the payload; it is there once `Operator.with_payload` has fetched it.
    """

    id: str
    kind: str
    delivery: str
    handler: str
    type: str
    reason: str
    tries: int
    at: datetime
    accepted: datetime
    holds: bool = False
    elsewhere: bool = field(default=False, compare=False)  # where it is, not what
    job: bytes = b""

    def summary(self) -> dict[str, Any]:
        """Everything but the payload, for lists."""
        return {
            "id": self.id,
            "kind": self.kind,
            "delivery": self.delivery,
            "handler": self.handler,
            "type": self.type,
            "reason": self.reason,
            "tries": self.tries,
            "at": self.at.isoformat(timespec="milliseconds"),
        }

    @property
    def group(self) -> str:
        """The id of its group: the same handler failed with the same error, whatever values that names."""
        return _group_id(self.kind, self.handler, same_error(self.reason))

    def received(self) -> Delivery | None:
        """The delivery that is kept; None when the job is not one of the kit's."""
        try:
            return Delivery.from_job(unpack(self.job)["a"][0])
        except (ValueError, TypeError, LookupError):
            return None

    def body(self) -> bytes | None:
        """The body as it was received; None when the job is not one of the kit's."""
        delivery = self.received()
        return delivery.body if delivery else None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters: all fields given must match. Ages in seconds, `reason` as part of the text.

    The names of the fields are those of `--where NAME=VALUE` and of the console's addresses.
    """

    handler: str | None = None
    type: str | None = None
    kind: str | None = None
    reason: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    group: str | None = None
    delivery: str | None = None

    @classmethod
    def of(cls, words: Mapping[str, str]) -> "Filter":
        """The filter in words; an empty one is none. Raises `SettingsError` for a wrong name or age."""
        return cls().narrowed(words)

    def narrowed(self, words: Mapping[str, str]) -> "Filter":
        """The filter with what the words say besides. Raises `SettingsError`."""
        names = [one.name for one in fields(self)]
        if unknown := [name for name in words if name not in names]:
            raise SettingsError(f"{unknown[0]}: expected one of {', '.join(names)}")
        given: dict[str, Any] = {name: value for name, value in words.items() if value}
        for name in ("older_than", "newer_than"):
            try:
                given |= {name: duration(given[name])} if name in given else {}
            except ValueError as error:
                raise SettingsError(f"{name}: {error}, got {given[name]!r}") from None
        return replace(self, **given)

    def between(self) -> tuple[float | str, float | str]:
        """The times (Unix ms) between which it died, as scores of a sorted set."""
        now = time.time()
        oldest = "-inf" if self.newer_than is None else (now - self.newer_than) * 1000
        return oldest, "+inf" if self.older_than is None else (now - self.older_than) * 1000

    def matches(self, letter: DeadLetter) -> bool:
        return (
            (self.handler is None or letter.handler == self.handler)
            and (self.type is None or letter.type == self.type)
            and (self.kind is None or letter.kind == self.kind)
            and (self.delivery is None or letter.delivery == self.delivery)
            and (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and (self.group is None or letter.group == self.group)
        )


@dataclass
class Group:
    """Dead letters of one handler with one error. `example` is the id of the newest."""

    id: str
    kind: str
    handler: str
    error: str
    first: datetime
    last: datetime
    example: str
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        if letter.type in self.types or len(self.types) < MOST_GROUPS:
            self.types[letter.type] += 1
        self.first = min(self.first, letter.at)
        if letter.at >= self.last:
            self.last, self.example = letter.at, letter.id

    def summary(self) -> dict[str, Any]:
        return {
            "group": self.id,
            "kind": self.kind,
            "handler": self.handler,
            "error": self.error,
            "count": self.count,
            "first": self.first.isoformat(timespec="milliseconds"),
            "last": self.last.isoformat(timespec="milliseconds"),
            "types": dict(self.types.most_common(20)),
            "example": self.example,
        }


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """The groups of these dead letters, the largest first."""
    groups: dict[str, Group] = {}
    for letter in letters:
        about = letter.group, letter.kind, letter.handler, same_error(letter.reason)
        if about[0] not in groups and len(groups) >= MOST_GROUPS:
            about = OTHERS, letter.kind, OTHERS, OTHERS
        if about[0] not in groups:
            groups[about[0]] = Group(*about, letter.at, letter.at, letter.id)
        groups[about[0]].add(letter)
    return sorted(groups.values(), key=lambda group: (-group.count, group.handler, group.error))


_STATUS = r"\b(?:answered|status|code|error|HTTP(?:/[\d.]+)?)[ :=]{1,3}[1-5]\d\d\b"
_VALUES = re.compile(
    rf"""(?P<kept>{_STATUS})"""
    r"""|(?P<quoted>(?<!\w)'[^']*'(?!\w)|"[^"]*")"""
    r"""|(?P<hex>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b)"""
    r"""|(?P<number>(?<![A-Za-z\d])\d+(?:[.:,-]\d+)*|\d{4,})""",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def same_error(reason: str) -> str:
    """The reason without the values that differ from one event to the next: ids, numbers, what is quoted.

    The status that a server answered stays: a 503 is mended elsewhere than a 400.
    """
    stand_ins = {"quoted": "'…'", "hex": "…", "number": "#"}
    return _VALUES.sub(lambda found: stand_ins.get(found.lastgroup or "", found[0]), reason)


@lru_cache(maxsize=4096)
def _group_id(kind: str, handler: str, error: str) -> str:
    return hashlib.sha256(f"{kind}\0{handler}\0{error}".encode()).hexdigest()[:8]
