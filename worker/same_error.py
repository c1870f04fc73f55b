"""Which failures are the same error: their reasons, without the values that differ from one event to the next."""

import hashlib
import re
from functools import lru_cache

_STATUS = r"\b(?:answered|status|code|error|HTTP(?:/[\d.]+)?)[ :=]{1,3}[1-5]\d\d\b"
_VALUES = re.compile(
    rf"""(?P<kept>{_STATUS})"""
    r"""|(?P<quoted>(?<!\w)'[^']*'(?!\w)|"[^"]*")"""
    r"""|(?P<hex>\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\b)"""
    r"""|(?P<number>(?<![A-Za-z\d])\d+(?:[.:,-]\d+)*|\d{4,})""",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def same_error(reason: str) -> str:
    """The reason without ids, numbers and what is quoted.

    The status that a server answered stays: a 503 is mended elsewhere than a 400.
    """
    stand_ins = {"quoted": "'…'", "hex": "…", "number": "#"}
    return _VALUES.sub(lambda found: stand_ins.get(found.lastgroup or "", found[0]), reason)


@lru_cache(maxsize=4096)
def group_id(kind: str, handler: str, error: str) -> str:
    """The id of the group of dead letters with this error, in commands and in addresses of the console."""
    return hashlib.sha256(f"{kind}\0{handler}\0{error}".encode()).hexdigest()[:8]
