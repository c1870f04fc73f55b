"""One event as it goes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from receiver import events


@dataclass(frozen=True, slots=True)
class Message:
    """Its type, its id where the body has one, its bytes and its headers."""

    type: str
    body: bytes
    id: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> "Message":
        """The message of a payload; type and id are read where the kit's own receiver would look for them."""
        return cls(
            type=events.canonical(events.first_text(payload, events.EVENT_TYPE_PATHS) or "(no type)"),
            body=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(),
            id=events.first_text(payload, events.EVENT_ID_PATHS),
        )

    def having(self, headers: Mapping[str, str]) -> "Message":
        """The same event with these headers too; names in lower case, a value here wins."""
        return replace(self, headers={**self.headers, **headers}) if headers else self

    @classmethod
    def raw(cls, body: bytes) -> "Message":
        """Any bytes at all, just as they are."""
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            return cls("(raw)", body)
        described = cls.of(payload) if isinstance(payload, dict) else cls("(raw)", body)
        return cls(described.type, body, described.id)
