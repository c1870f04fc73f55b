"""Delivery: one request as a pure value, and how it is written into a job."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from receiver.queue.jobs import FUNCTION, pack_job


class Delivery(NamedTuple):
    """One request that was let in.

    `id` is 24 hexadecimal digits made from `source` and `key`, so that equal keys are equal ids; it names the
    delivery in logs and commands. `body` is what was received, byte for byte. `digest` is the SHA-256 of its content:
    the text once unpacked, in UTF-8 without a byte order mark, so that one event is one event however it was packed;
    of the raw body where `receiver.content` cannot read it. `received_us` is Unix time in microseconds and tells one
    acceptance from another. `event_type` and `subject` are what the receiver could read ("" when it could not); the
    worker reads for itself.

    While a new release is rolled out two versions share the queue, so a field once written stays, and one that is added
    has a default: older jobs lack it. What a newer version added is kept in `more` and handed on with every retry.
    """

    id: str
    source: str
    key: str
    digest: bytes
    received_us: int
    event_type: str
    subject: str
    headers: dict[str, str]
    body: bytes
    more: Mapping[str, Any] = {}

    @property
    def job_id(self) -> str:
        """Of the delivery's first job; never used again, because arq deletes a job by its id."""
        return f"{self.id}:{self.received_us:x}"

    def for_log(self) -> dict[str, str]:
        """The fields of every log line about this delivery, in receiver and worker: search for one to find all."""
        event_id = self.key if self.source == "event-id" else ""  # another source's key may be a header's value
        return {"delivery": self.id, "event_id": event_id, "type": self.event_type, "subject": self.subject}

    def job(self) -> bytes:
        """The arq job that carries this delivery, as `arq.jobs.serialize_job` would write it."""
        return pack_job(FUNCTION, [self.as_value()], self.received_us // 1000)

    def as_value(self) -> dict[str, Any]:
        """The first argument of every job about this delivery; `from_job` reads it."""
        return {
            **self.more,
            "id": self.id,
            "source": self.source,
            "key": self.key,
            "digest": self.digest,
            "received_us": self.received_us,
            "event_type": self.event_type,
            "subject": self.subject,
            "headers": self.headers,
            "body": self.body,
        }

    @classmethod
    def from_job(cls, value: Mapping[str, Any]) -> "Delivery":
        """The delivery in a job's first argument. Raises TypeError when it is something else."""
        if not isinstance(value, Mapping):
            raise TypeError("expected a mapping")
        for name, kind in _FORM.items():  # a value of another type would make the scripts fail at every try
            if not isinstance(value.get(name), kind):
                raise TypeError(f"{name}: expected {kind.__name__}")
        if len(value) == len(_FORM):  # the usual case, without a copy
            return cls(**value)
        more = {name: part for name, part in value.items() if name not in _FORM}
        return cls(**{name: value[name] for name in _FORM}, more=more)


_FORM = {
    **dict.fromkeys(("id", "source", "key", "event_type", "subject"), str),
    "digest": bytes,
    "received_us": int,
    "headers": dict,
    "body": bytes,
}
"""What version 0.1 writes of a delivery."""
