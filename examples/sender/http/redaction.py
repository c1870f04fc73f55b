"""Replaces personal data by pseudonyms in a whole request: headers, URL and body."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from examples.sender.http.arrivals import unpacked
from examples.sender.terminal import without_secrets
from receiver.events import redaction
from receiver.events.recordings import Recorded
from receiver.events.redaction import MAIL, SECRET

_ADDRESS_HEADERS = frozenset({"x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip", "cf-connecting-ip"})


@dataclass
class Redaction(redaction.Redaction):
    """Redacts requests."""

    def __call__(self, request: Recorded) -> Recorded:
        """The request with pseudonyms. A body that is not JSON is replaced; a compressed one is unpacked."""
        content = unpacked(request.body, request.header("content-encoding") or "")
        try:
            body = json.dumps(self.value(json.loads(content), ""), ensure_ascii=False, separators=(",", ":")).encode()
        except (ValueError, RecursionError):
            body = f"redacted: {len(content)} bytes that are no JSON".encode() if content else b""
        headers = tuple(self._headers(request, len(body)))
        return replace(request, target=without_secrets(request.target), headers=headers, body=body)

    def _headers(self, request: Recorded, length: int) -> Iterator[tuple[str, str]]:
        for name, value in request.headers:
            if name.lower() == "content-length":
                yield name, str(length)
            elif SECRET.search(name) or name.lower() in _ADDRESS_HEADERS:
                yield name, self.stand_in("redacted-", value)
            elif name.lower() != "content-encoding":  # the body was unpacked
                yield name, MAIL.sub(lambda mail: self.mail(mail[0]), value)
