"""Which deliveries are the same: the idempotency key of a request.

The key is the first of the configured sources that the request has. Glartek documents no event id, so the default
list tries the usual places and ends with the content's own SHA-256, which is always there.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from receiver import content
from receiver.delivery import Delivery
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap
from receiver.sources import BODY, BODY_WITHOUT, finder

KEPT_HEADERS = frozenset(
    {"content-type", "content-encoding", "user-agent", "idempotency-key", "webhook-id", "webhook-timestamp"}
)
KEPT_HEADER_PREFIXES = ("ce-",)
SIGNED_HEADERS = ("webhook-id", "webhook-timestamp")
"""What a Standard Webhooks signature covers besides the body."""


def delivery_id(source: str, key: str) -> str:
    """24 hexadecimal digits made from a source and its key: the same for the same pair, and safe in any name."""
    return hashlib.sha256(f"{source}\0{key}".encode()).hexdigest()[:24]


class IdempotencyRule:
    """The words of `receiver.sources`, in order, and where the body's fields are: the kit's own map unless given.

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
        self._sources = [(word, finder(word, self.where)) for word in self.words]

    def delivery(self, headers: Mapping[str, str], body: bytes, received_us: int) -> Delivery:
        """The delivery of one request; `headers` by lower-case name. Never raises: every body makes a delivery."""
        headers = self.deciding(headers, body)
        payload, text = self._read(headers, body)
        digest = hashlib.sha256(text).digest()
        source, key = self._key(headers, payload, digest)
        if source.startswith(BODY_WITHOUT):
            digest = bytes.fromhex(key)  # a field that the key leaves out makes no conflict
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

    def all_keys(self, headers: Mapping[str, str], body: bytes) -> list[tuple[str, str | None]]:
        """(source, key or None) for every configured source, for `explain`."""
        headers = self.deciding(headers, body)
        payload, text = self._read(headers, body)
        own = hashlib.sha256(text).hexdigest()
        keys = [(word, find(headers, payload) if find else own) for word, find in self._sources]
        return keys if BODY in self.words else [*keys, (BODY, own)]

    def deciding(self, headers: Mapping[str, str], body: bytes) -> Mapping[str, str]:
        """The headers that may decide the key. Content-Encoding is not signed: the body's first bytes tell it."""
        if not self.signed:
            return headers
        covered = {name: headers[name] for name in SIGNED_HEADERS if name in headers}
        packing = content.packing(body)
        return covered | {"content-encoding": packing} if packing else covered

    def _read(self, headers: Mapping[str, str], body: bytes) -> tuple[Any, bytes]:
        """The body's JSON object and its text; None and the body as received where it cannot be read."""
        try:
            return content.read(headers, body, self.max_body_bytes)
        except content.Unreadable:
            return None, body

    def _key(self, headers: Mapping[str, str], payload: Any, digest: bytes) -> tuple[str, str]:
        """The first source that has a key, with the key; the body's own digest is the last resort."""
        for word, find in self._sources:
            if key := find(headers, payload) if find else digest.hex():
                return word, key
        return BODY, digest.hex()
