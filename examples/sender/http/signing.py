"""Optional signatures (Standard Webhooks 1.0.0); off by default, because Glartek documents none."""

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from examples.sender.http.message import Message
from examples.sender.terminal import Refusal
from receiver import auth


@dataclass(frozen=True, slots=True)
class Signer:
    """Adds `webhook-id`, `webhook-timestamp` and `webhook-signature`, made with a `whsec_…` secret."""

    secret: str

    def __post_init__(self) -> None:
        try:
            auth.secret_key(self.secret)
        except ValueError as error:
            raise Refusal(f"--secret: {error}") from None

    def signed(self, message: Message) -> Message:
        """The message with the signature headers for an attempt now."""
        return dataclasses.replace(message, headers={**message.headers, **self.headers(message)})

    def headers(self, message: Message) -> Mapping[str, str]:
        """The three headers for an attempt now; the id is the same for every attempt."""
        message_id = message.id or "msg_" + hashlib.sha256(message.body).hexdigest()[:24]
        timestamp = int(time.time())
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": auth.sign(self.secret, message_id, timestamp, message.body),
        }
