"""One event as it goes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from examples.sender.payload_map import OURS, PayloadMap


@dataclass(frozen=True, slots=True)
class Message:
    """Its type, its id where the body has one, its bytes and its headers."""

    type: str
    body: bytes
    id: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    @classmethod
    def of(cls, payload: Mapping[str, Any], where: PayloadMap = OURS) -> "Message":
        """The message of a payload; `where` says where its type and id are."""
        return cls(
            type=where.type_of(payload) or "(no type)",
            body=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"),
            id=where.id_of(payload),
        )

    def having(self, headers: Mapping[str, str]) -> "Message":
        """The same event with these headers too; names in lower case, a value here wins."""
        return replace(self, headers={**self.headers, **headers}) if headers else self

    @classmethod
    def raw(cls, body: bytes, where: PayloadMap = OURS) -> "Message":
        """Any bytes at all, just as they are."""
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return cls("(raw)", body)
        if not isinstance(payload, dict):
            return cls("(raw)", body)
        return cls(where.type_of(payload) or "(no type)", body, where.id_of(payload))
