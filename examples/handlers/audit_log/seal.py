"""Computes a row's hash: SHA-256, which anyone can compute, or HMAC-SHA256 with AUDIT_KEY, which needs the key.

9f86d081…                    without a key
hmac:1a2b3c4d:9f86d081…      under the key with that id
"""

import hashlib
import hmac
import re

NO_KEY = ""
HASH = r"(?:hmac:[0-9a-f]{8}:)?[0-9a-f]{64}"
_KEYED = re.compile(r"hmac:([0-9a-f]{8}):[0-9a-f]{64}")


class Seal:
    """Hashes rows, and checks their hashes. `keys` are in order, newest first; new rows use the first one."""

    def __init__(self, *keys: bytes) -> None:
        self._keys = {hashlib.sha256(key).hexdigest()[:8]: key for key in keys}
        self._ids = (*self._keys, NO_KEY)

    @property
    def has_key(self) -> bool:
        return bool(self._keys)

    def hash(self, text: str) -> str:
        """The hash of a new row's text."""
        return self._hash(text, self._ids[0])

    def holds(self, text: str, row_hash: str) -> bool:
        """Whether the hash is that of the text, under the key that the hash names. Raises KeyError if it is unknown."""
        return self._hash(text, key_id(row_hash)) == row_hash

    def age(self, key: str) -> int | None:
        """The number of newer keys, with `NO_KEY` as the oldest; None for an unknown key."""
        return self._ids.index(key) if key in self._ids else None

    def _hash(self, text: str, key: str) -> str:
        if key == NO_KEY:
            return sha256(text)
        return f"hmac:{key}:{hmac.digest(self._keys[key], encoded(text), 'sha256').hex()}"


def key_id(row_hash: str) -> str:
    """The id of the key of a hash, or `NO_KEY`."""
    keyed = _KEYED.fullmatch(row_hash)
    return keyed[1] if keyed else NO_KEY


def sha256(text: str) -> str:
    return hashlib.sha256(encoded(text)).hexdigest()


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # lone surrogates: only tampering can cause them
