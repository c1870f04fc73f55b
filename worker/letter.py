"""A dead letter as a value, and which of them are meant: for commands and console alike."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from receiver.delivery import Delivery
from receiver.environment import SettingsError, duration
from receiver.queue import letters
from receiver.queue.jobs import unpack
from worker.same_error import group_id, same_error
from worker.transitions import PARSE

FIELDS = ["kind", "delivery", "handler", "type", "reason", "tries", "at", "key", "digest", "first_digest", "accepted",
          "line", letters.MOVED]  # fmt: skip
"""The fields of a dead letter's hash in Redis, without its payload."""
KINDS = ("dead", "conflict", "job")
"""A handler that failed for good, a delivery with a key that was taken by other bytes, a job that cannot be run."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter. `kind` is dead, conflict or job; `at` is when it died; `tries` counts its attempts.

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
    elsewhere: bool = field(default=False, compare=False)  # says where it is, not what it is
    job: bytes = b""

    @classmethod
    def from_hash(cls, dead_id: str, values: Sequence[bytes | None]) -> "DeadLetter | None":
        """A dead letter from the values of `FIELDS`; None when there is none."""
        text = {name: value for name, value in zip(FIELDS, values, strict=True) if value is not None}
        if "at" not in text:
            return None
        kind = text.get("kind", b"dead").decode()
        reason = text.get("reason", b"").decode()
        if kind == "conflict":
            reason = (
                f"the key {text['key'].decode()!r} was taken by other bytes: "
                f"sha256 {text['first_digest'].hex()} first, {text['digest'].hex()} now"
            )
        at = int(text["at"])
        return cls(
            id=dead_id,
            kind=kind,
            delivery=text.get("delivery", dead_id.partition(":")[0].encode()).decode(),
            handler=text.get("handler", b"").decode(),
            type=text.get("type", b"").decode(),
            reason=reason,
            tries=int(text.get("tries", 0)),
            at=datetime.fromtimestamp(at / 1000, tz=UTC),
            accepted=datetime.fromtimestamp(int(text.get("accepted", at * 1000)) / 1_000_000, tz=UTC),
            holds="line" in text,
            elsewhere=letters.MOVED in text,
        )

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
    def unreadable(self) -> bool:
        """Whether it is a body that is no event: it has no handler of its own."""
        return self.kind == "dead" and self.handler == PARSE

    @property
    def group(self) -> str:
        """The id of its group: the same handler failed with the same error, whatever values that names."""
        return group_id(self.kind, self.handler, same_error(self.reason))

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
        """The filter for these words, without empty ones. Raises `SettingsError`."""
        return cls().narrowed(words)

    def narrowed(self, words: Mapping[str, str]) -> "Filter":
        """The filter with more conditions, in words. Raises `SettingsError` for a wrong name, kind or age."""
        names = [one.name for one in fields(self)]
        if unknown := [name for name in words if name not in names]:
            raise SettingsError(f"{unknown[0]}: expected one of {', '.join(names)}")
        given: dict[str, Any] = {name: value for name, value in words.items() if value}
        if given.get("kind", KINDS[0]) not in KINDS:
            raise SettingsError(f"kind: expected one of {', '.join(KINDS)}, got {given['kind']!r}")
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
