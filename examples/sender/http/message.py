"""One event to send."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from examples.sender.payload_map import OURS, PayloadMap


@dataclass(frozen=True, slots=True)
class Message:
    """An event's type, id (if the body has one), body and headers."""

    type: str
    body: bytes
    id: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    @classmethod
    def of(cls, payload: Mapping[str, Any], where: PayloadMap = OURS) -> "Message":
        """The message of a payload; `where` has the paths of type and id."""
        return cls(
            type=where.type_of(payload) or "(no type)",
            body=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"),
            id=where.id_of(payload),
        )

    def having(self, headers: Mapping[str, str]) -> "Message":
        """The same event with additional headers (lower-case names), which take precedence."""
        return replace(self, headers={**self.headers, **headers}) if headers else self

    @classmethod
    def raw(cls, body: bytes, where: PayloadMap = OURS) -> "Message":
        """The message of any bytes, unchanged."""
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return cls("(raw)", body)
        if not isinstance(payload, dict):
            return cls("(raw)", body)
        return cls(where.type_of(payload) or "(no type)", body, where.id_of(payload))
