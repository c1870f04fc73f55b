"""Which deliveries are the same: the idempotency key of a request.

The key is the first of the configured sources that the request has. Glartek documents no event id, so the default
list tries the usual places and ends with the content's own SHA-256, which is always there.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from receiver import content, events
from receiver.delivery import Delivery
from receiver.events import batch
from receiver.events.paths import DOTTED, Paths
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap

BODY = "body"
"""The source of a key that is the content's own SHA-256: events that read alike share it, so its window is short."""
BODY_WITHOUT = "body-without:"
"""Begins a source that is the same without fields that change from attempt to attempt."""
_ALONE = frozenset({"event-id", "webhook-id", "cloudevents", "idempotency-key", BODY})
PART = "part"
"""What a delivery that came in a batch has `more`: which of how many it is."""
KEPT_HEADERS = frozenset(
    {"content-type", "content-encoding", "user-agent", "idempotency-key", "webhook-id", "webhook-timestamp"}
)
KEPT_HEADER_PREFIXES = ("ce-",)
SIGNED_HEADERS = ("webhook-id", "webhook-timestamp")
"""What a Standard Webhooks signature covers besides the body."""
# A proxy sets these anew on every attempt, so that no two attempts would ever share a key.
CHANGING_HEADERS = frozenset({"x-request-id", "x-correlation-id", "traceparent", "tracestate", "date"})
Find = Callable[[Mapping[str, str], Any], str | None]


def delivery_id(source: str, key: str) -> str:
    """24 hexadecimal digits that stand for a source and a key of it: short, safe anywhere, equal for equals."""
    return hashlib.sha256(f"{source}\0{key}".encode()).hexdigest()[:24]


class IdempotencyRule:
    """The configured idempotency sources, in order, and where the body's fields are: the kit's own map unless given.

    | word | key |
    |---|---|
    | `event-id` | the event id in the body, where the payload map has it |
    | `webhook-id` | the Standard Webhooks header |
    | `cloudevents` | `ce-source` and `ce-id` together: only the pair is unique |
    | `idempotency-key` | the header |
    | `body` | SHA-256 of the content (`Delivery.digest`) |
    | `body:meta.eventId` | any other field of the body, by its path |
    | `body-without:sentAt,try.no` | SHA-256 of the content without these fields, which change from attempt to attempt |
    | `header:x-event-id` | any other header |

    With `signed` only what the signature covers counts: the body, `webhook-id`, `webhook-timestamp`. Otherwise a signed
    message that is sent again with another header beside it would be another event.
    """

    def __init__(
        self,
        words: Iterable[str],
        where: PayloadMap | None = None,
        max_body_bytes: int = 1 << 20,
        *,
        signed: bool = False,
    ) -> None:
        self.signed = signed
        self.where, self.max_body_bytes = where or ours(), max_body_bytes
        self.words = tuple(words)
        self._sources = [(word, self._find(word)) for word in self.words]

    def delivery(self, headers: Mapping[str, str], body: bytes, received_us: int) -> Delivery:
        """The value of one request; `headers` by lower-case name. Total: every body makes a delivery."""
        headers = self.deciding(headers, body)
        payload, text = self._read(headers, body)
        digest = hashlib.sha256(text).digest()
        source, key = self._key(headers, payload) or (BODY, digest.hex())
        if source.startswith(BODY_WITHOUT):
            digest = bytes.fromhex(key)  # or what the key leaves out would make a duplicate a conflict
        event_type = self.where.type_of(payload)
        about = self.where.subject(payload, event_type)
        subject = f"{about[0]}:{about[1]}" if about else ""
        kept = {
            name: value
            for name, value in headers.items()
            if name in KEPT_HEADERS or name.startswith(KEPT_HEADER_PREFIXES)
        }
        shown = key[:200]  # enough to recognise it by; the id is made from all of it
        return Delivery(delivery_id(source, key), source, shown, digest, received_us, event_type, subject, kept, body)

    def deliveries(self, headers: Mapping[str, str], body: bytes, received_us: int) -> list[Delivery]:
        """The values of one request: one for each event of a batch, where the payload map says that there may be any.

        An event of a batch is known by what it says of itself: the request's own headers name all of them.
        """
        if not self.where.batch:
            return [self.delivery(headers, body, received_us)]
        headers = self.deciding(headers, body)
        if not (parts := self._parts(headers, body, self.where.batch)):
            return [self.delivery(headers, body, received_us)]
        media_type = headers.get("content-type", "application/json").replace("cloudevents-batch", "cloudevents")
        own = {"content-type": media_type}
        return [
            self.delivery(own, part, received_us + number)._replace(more={PART: f"{number + 1} of {len(parts)}"})
            for number, part in enumerate(parts)
        ]

    def _parts(self, headers: Mapping[str, str], body: bytes, path: str) -> list[bytes] | None:
        """The text of each event of a batch; None where a body is none, or has more than `batch.MOST_EVENTS`."""
        try:
            _, text = content.read_any(headers, body, self.max_body_bytes)
        except content.Unreadable:
            return None
        parts = batch.elements(text.decode(), path)
        return [part.encode() for part in parts] if parts and len(parts) <= batch.MOST_EVENTS else None

    def all_keys(self, headers: Mapping[str, str], body: bytes) -> list[tuple[str, str | None]]:
        """(source, key or None) for every configured source, for `explain`."""
        headers = self.deciding(headers, body)
        payload, text = self._read(headers, body)
        found = [(word, find(headers, payload)) for word, find in self._sources if find]
        return [*found, (BODY, hashlib.sha256(text).hexdigest())]

    def deciding(self, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The headers that may decide what a request is; how a signed body is packed is told by itself."""
        if not self.signed:
            return headers
        covered = {name: headers[name] for name in SIGNED_HEADERS if name in headers}
        packing = content.packing(body)
        return covered | {"content-encoding": packing} if packing else covered

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
            return lambda _, payload: self.where.id_of(payload)
        if word == "cloudevents":
            return _cloudevents
        if word in {"webhook-id", "idempotency-key"}:
            return lambda headers, _: _text(headers.get(word))
        if word.startswith((BODY_WITHOUT, "body:")) and (find := _in_body(kind, name)):
            return find
        if kind == "header" and re.fullmatch(r"[A-Za-z0-9-]+", name):
            if name.lower() in CHANGING_HEADERS:
                raise ValueError(f"{word!r} changes on every attempt, so no duplicate would be seen")
            return lambda headers, _: _text(headers.get(name.lower()))
        raise ValueError(
            f"{word!r} is no source; expected event-id, webhook-id, cloudevents, idempotency-key, body, "
            "body-without:<path>,<path>, body:<path> or header:<name>"
        )


def _in_body(kind: str, name: str) -> Find | None:
    """How to find a key in the body; None where no field is named. Raises ValueError for what is no path."""
    if kind == "body":
        where = Paths((name,) if name else ())
        return (lambda _, payload: where.text(payload)) if where else None
    paths = [path.split(".") for path in name.split(",") if DOTTED.fullmatch(path)]
    if len(paths) != name.count(",") + 1:
        raise ValueError(f"expected dotted paths, such as {BODY_WITHOUT}sentAt,meta.attempt, got {name!r}")
    return lambda _, payload: _digest_without(payload, paths)


def is_by_content(source: str) -> bool:
    """Whether a key of this source says no more than that two bodies read alike: its window is short."""
    return source == BODY or source.startswith(BODY_WITHOUT)


def words_of(parts: Iterable[str]) -> list[str]:
    """The sources in a list that was separated by commas, which are in `body-without:sentAt,attempt`, too.

    A part that is no source of its own belongs to the `body-without` before it.
    """
    words: list[str] = []
    for part in parts:
        inside = words and words[-1].startswith(BODY_WITHOUT)
        if inside and part not in _ALONE and ":" not in part:
            words[-1] += f",{part}"
        else:
            words.append(part)
    return words


def _digest_without(payload: Any, paths: Sequence[Sequence[str]]) -> str | None:
    """SHA-256 of what an object says besides what is at the paths; in whatever order and spacing."""
    if not isinstance(payload, dict):
        return None
    for steps in paths:
        payload = _without(payload, steps)
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))  # ASCII: a lone surrogate, too, can be encoded
    return hashlib.sha256(text.encode()).hexdigest()


def _without(payload: dict[str, Any], steps: Sequence[str]) -> dict[str, Any]:
    name, *rest = steps
    if not rest:
        return {key: value for key, value in payload.items() if key != name}
    inner = payload.get(name)
    return {**payload, name: _without(inner, rest)} if isinstance(inner, dict) else payload


def _text(value: str | None) -> str | None:
    return (value or "").strip() or None


def _cloudevents(headers: Mapping[str, str], payload: Any) -> str | None:
    source, event_id = _text(headers.get("ce-source")), _text(headers.get("ce-id"))
    if not (source and event_id) and headers.get("content-type", "").startswith("application/cloudevents+json"):
        source, event_id = events.first_text(payload, ("source",)), events.first_text(payload, ("id",))
    return f"{source}|{event_id}" if source and event_id else None
