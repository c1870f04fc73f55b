"""Delivery: one request as a pure value, its idempotency key, and its form on the queue.

The key is the first of the configured sources that the request has. Glartek documents no event id, so the default
list tries the usual places and ends with the body's own SHA-256, which is always there.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgpack

from receiver import content, events
from receiver.keys import JOB

FUNCTION = "deliver"
"""The arq function that a delivery's job names."""
BODY = "body"
"""The source of a key that is the content's own SHA-256: events that read alike share it, so its window is short."""
KEPT_HEADERS = frozenset(
    {"content-type", "content-encoding", "user-agent", "idempotency-key", "webhook-id", "webhook-timestamp"}
)
KEPT_HEADER_PREFIXES = ("ce-",)
# A proxy sets these anew on every attempt, so that no two attempts would ever share a key.
CHANGING_HEADERS = frozenset({"x-request-id", "x-correlation-id", "traceparent", "tracestate", "date"})

Find = Callable[[Mapping[str, str], Any], str | None]


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
        for name, kind in _FORM.items():  # a value of another type would be an error in the scripts, again and again
            if not isinstance(value.get(name), kind):
                raise TypeError(f"{name}: expected {kind.__name__}")
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


def pack_job(function: str, args: list[Any], enqueued_ms: int) -> bytes:
    """An arq job in msgpack: arq's own layout (`arq.jobs.serialize_job`), held by a contract test."""
    job: bytes = _packer.pack({"t": None, "f": function, "a": args, "k": {}, "et": enqueued_ms})
    return job


_packer = msgpack.Packer()  # one for all: each brings a buffer of its own


def unpack(data: bytes) -> Any:
    """What msgpack holds: the deserializer on both sides of the queue, which can run no code."""
    return msgpack.unpackb(data, strict_map_key=False)


def delivery_id(source: str, key: str) -> str:
    """24 hexadecimal digits that stand for a source and a key of it: short, safe anywhere, equal for equals."""
    return hashlib.sha256(f"{source}\0{key}".encode()).hexdigest()[:24]


def job_key(job_id: str) -> str:
    return JOB + job_id


class Sources:
    """The configured idempotency sources, in order, and where the body's fields are.

    | word | key |
    |---|---|
    | `event-id` | the event id in the body, at EVENT_ID_PATHS |
    | `webhook-id` | the Standard Webhooks header |
    | `cloudevents` | `ce-source` and `ce-id` together: only the pair is unique |
    | `idempotency-key` | the header |
    | `body` | SHA-256 of the content (`Delivery.digest`) |
    | `body:meta.eventId` | any other field of the body, as a dotted path |
    | `header:x-event-id` | any other header |
    """

    def __init__(
        self, words: Iterable[str], id_paths: Iterable[str], type_paths: Iterable[str], max_body_bytes: int = 1 << 20
    ) -> None:
        self.id_paths, self.type_paths, self.max_body_bytes = tuple(id_paths), tuple(type_paths), max_body_bytes
        self.words = tuple(words)
        self._sources = [(word, self._find(word)) for word in self.words]

    def delivery(self, headers: Mapping[str, str], body: bytes, received_us: int) -> Delivery:
        """The value of one request; `headers` by lower-case name. Total: every body makes a delivery."""
        payload, text = self._read(headers, body)
        digest = hashlib.sha256(text).digest()
        source, key = self._key(headers, payload) or (BODY, digest.hex())
        event_type = events.type_of(payload, self.type_paths)
        kind, subject_id = events.subject_of(payload, event_type)
        subject = f"{kind}:{subject_id}" if subject_id else ""
        kept = {
            name: value
            for name, value in headers.items()
            if name in KEPT_HEADERS or name.startswith(KEPT_HEADER_PREFIXES)
        }
        shown = key[:200]  # enough to recognise it by; the id is made from all of it
        return Delivery(delivery_id(source, key), source, shown, digest, received_us, event_type, subject, kept, body)

    def all_keys(self, headers: Mapping[str, str], body: bytes) -> list[tuple[str, str | None]]:
        """(source, key or None) for every configured source, for `explain`."""
        payload, text = self._read(headers, body)
        found = [(word, find(headers, payload)) for word, find in self._sources if find]
        return [*found, (BODY, hashlib.sha256(text).hexdigest())]

    def _read(self, headers: Mapping[str, str], body: bytes) -> tuple[Any, bytes]:
        """The body's object and text; None and the body as it came where nothing can be read in it."""
        try:
            return content.read(headers, body, self.max_body_bytes)
        except content.Unreadable:
            return None, body

    def _key(self, headers: Mapping[str, str], payload: Any) -> tuple[str, str] | None:
        for word, find in self._sources:
            if find is None:
                return None
            if key := find(headers, payload):
                return word, key
        return None

    def _find(self, word: str) -> Find | None:
        """How to find the key of one source; None means the body's hash. Raises ValueError on a word unknown."""
        kind, _, name = word.partition(":")
        if word == BODY:
            return None
        if word == "event-id":
            return lambda _, payload: events.first_text(payload, self.id_paths)
        if word == "cloudevents":
            return _cloudevents
        if word in {"webhook-id", "idempotency-key"}:
            return lambda headers, _: _text(headers.get(word))
        if kind == "body" and name:
            return lambda _, payload: events.first_text(payload, (name,))
        if kind == "header" and re.fullmatch(r"[A-Za-z0-9-]+", name):
            if name.lower() in CHANGING_HEADERS:
                raise ValueError(f"{word!r} changes on every attempt, so no duplicate would be seen")
            return lambda headers, _: _text(headers.get(name.lower()))
        raise ValueError(
            f"{word!r} is no source; expected event-id, webhook-id, cloudevents, idempotency-key, body, "
            "body:<dotted.path> or header:<name>"
        )


def _text(value: str | None) -> str | None:
    return (value or "").strip() or None


def _cloudevents(headers: Mapping[str, str], payload: Any) -> str | None:
    source, event_id = _text(headers.get("ce-source")), _text(headers.get("ce-id"))
    if not (source and event_id) and headers.get("content-type", "").startswith("application/cloudevents+json"):
        source, event_id = events.first_text(payload, ("source",)), events.first_text(payload, ("id",))
    return f"{source}|{event_id}" if source and event_id else None
