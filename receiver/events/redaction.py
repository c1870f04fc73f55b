"""Replaces personal data in a payload by pseudonyms: people, e-mails, tokens and free text.

A string is kept only if it is recognised as an id, a time, a type or a state; all others count as free text. Within one
`Redaction` equal values get equal pseudonyms, so that relations are kept. Pseudonyms are made with a random key that is
not stored, so that nobody can reverse them by trying values.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

from receiver import events
from receiver.events.payload_file import ours
from receiver.events.payload_map import PayloadMap

# By the name of a field or header.
SECRET = re.compile(
    r"token|secret|password|passwd|authoriz|signature|api_?-?key|credential|cookie|session|^sig$", re.IGNORECASE
)
_PERSON = re.compile(
    r"person|user|actor|assignee|assigned|owner|author|reporter|operator|worker|technician|contact|employee|manager"
    r"|team|mail|phone|mobile|(_by|By)$|(first|last|full|sur|nick|display)_?name",
    re.IGNORECASE,
)
_PLACE = re.compile(r"^(lat|lon|lng|latitude|longitude|coordinates?|gps)$", re.IGNORECASE)
_STATE = re.compile(r"type|status|state|priority|severity|kind|unit|locale|lang|version|schema", re.IGNORECASE)
_ID = re.compile(r"(^|_|[a-z])(id|ids|uuid|guid|code|key|number|ref)$", re.IGNORECASE)

# By the value itself.
MAIL = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+\.[^\s@<>\"'(),;:]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?|/Date\(\d+\)/")
_MACHINE = re.compile(r"(?=.*[\d_])[A-Za-z0-9_.:-]{1,64}|[\d.,-]+")
_LONGEST_STATE = 40  # characters: long enough for `In Progress`, too short for a sentence


@dataclass
class Redaction:
    """Redacts payloads; `where` has the sender's names of types, which are kept."""

    where: PayloadMap = field(default_factory=ours)
    key: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def value(self, value: Any, name: str, *, of_person: bool = False) -> Any:
        """The redacted value of a field; `of_person`: the field is part of an object about a person."""
        person = of_person or _PERSON.search(name) is not None
        match value:
            case dict():
                return {self._field(key): self.value(part, key, of_person=person) for key, part in value.items()}
            case list():
                return [self.value(part, name, of_person=person) for part in value]
            case str():
                return self._text(value, name, person=person)
            case int() | float() if not isinstance(value, bool):
                private = _PLACE.search(name) or SECRET.search(name) or (person and not _ID.search(name))
                return type(value)(0) if private else value
        return value

    def _text(self, text: str, name: str, *, person: bool) -> str:
        if SECRET.search(name):
            return self.stand_in("secret-", text)
        if MAIL.fullmatch(text):
            return self.mail(text)
        if "://" in text:
            return f"{urlsplit(text).scheme}://example.com/{self.stand_in('path-', text)}"
        if person and not _STATE.search(name):
            return self._alike(text) if _ID.search(name) else self.stand_in("Person ", text)
        return text if self._is_structure(text, name) else self.stand_in("Text ", text)

    def _is_structure(self, text: str, name: str) -> bool:
        if not text or _TIME.fullmatch(text) or self.where.named(text) in events.BY_NAME:
            return True
        if _STATE.search(name):
            return len(text) <= _LONGEST_STATE and not MAIL.search(text)
        return _MACHINE.fullmatch(text) is not None or (_ID.search(name) is not None and " " not in text)

    def _field(self, name: str) -> str:
        """A field's name; replaced only if it is an e-mail address."""
        return self.mail(name) if MAIL.fullmatch(name) else name

    def mail(self, text: str) -> str:
        """A pseudonym for an e-mail address."""
        return f"{self.stand_in('person-', text)}@example.com"

    def _alike(self, text: str) -> str:
        """A pseudonym for a person's id, in the same form."""
        rng = Random(self._digest(text))  # noqa: S311 - its seed is the secret
        kept = max(text.rfind(mark) for mark in "_-:") + 1
        return text[:kept] + "".join(rng.choice("0123456789abcdef") for _ in range(max(len(text) - kept, 6)))

    def stand_in(self, kind: str, text: str) -> str:
        """A pseudonym of this kind for a text, the same each time."""
        return kind + self._digest(text)[:6]

    def _digest(self, text: str) -> str:
        return hmac.digest(self.key, text.strip().casefold().encode("utf-8", "surrogatepass"), hashlib.sha256).hex()
