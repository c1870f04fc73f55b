"""Authentication: the token in the URL, and signatures for senders that can sign.

Glartek's form has no field for a secret or a header, so the URL is the only place for a token. Signatures follow
Standard Webhooks 1.0.0 (https://www.standardwebhooks.com); they are off by default, as Glartek documents none.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

TOLERANCE = 5 * 60  # seconds before or after now (Standard Webhooks 1.0.0)
SECRET_PREFIX = "whsec_"  # noqa: S105 - the scheme's prefix, not a secret


def is_one_of(token: str, tokens: Iterable[bytes]) -> bool:
    """Whether `token` is one of `tokens`, which are in UTF-8, in constant time."""
    sent = token.encode("utf-8", "surrogatepass")
    return any([hmac.compare_digest(sent, accepted) for accepted in tokens])  # noqa: C419 - compare with each


def secret_key(secret: str) -> bytes:
    """The key in a `whsec_<base64>` secret. Raises ValueError saying what is wrong with it."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("expected whsec_ followed by base64") from None
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the range that Standard Webhooks names
        raise ValueError(f"expected a key of 24 to 64 bytes, got {len(key)}")
    return key


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature, `v1,<base64>`, over `id.timestamp.body`; `timestamp` in Unix seconds."""
    content = f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
    return "v1," + base64.b64encode(hmac.digest(secret_key(secret), content, hashlib.sha256)).decode()


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether the headers have a signature by one of the secrets, with a timestamp within the tolerance.

    Never raises: malformed headers return False.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    sent = [part.encode("utf-8", "surrogatepass") for part in headers.get("webhook-signature", "").split()]
    if not (message_id and timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= 12):  # noqa: PLR2004
        return False
    if abs(now - int(timestamp)) > TOLERANCE:
        return False
    expected = [sign(secret, message_id, int(timestamp), body).encode() for secret in secrets]
    return any([hmac.compare_digest(ours, theirs) for ours in expected for theirs in sent])  # noqa: C419 - compare with each
