"""The payload of a dead letter: in its hash, compressed where that helps, or in a file of a receiver's host.

| field | holds |
|---|---|
| `job` | the job as it was |
| `zjob` | the job compressed (zlib) |
| `moved` | `<folder>/<file>`: the receiver's folder that has it, and where in it; see `room.py` |
"""

import zlib

PLAIN, COMPRESSED, MOVED = "job", "zjob", "moved"
_WORTH_IT = 4096
"""Bytes from which a payload is compressed."""


def pack(job: bytes) -> tuple[str, bytes]:
    """(field, what it holds) for a payload: compressed if that saves a tenth at least."""
    if len(job) >= _WORTH_IT:
        compressed = zlib.compress(job, 1)  # who calls waits for it: a megabyte takes some 10 ms
        if len(compressed) < 0.9 * len(job):
            return COMPRESSED, compressed
    return PLAIN, job


def unpack(field: str, held: bytes) -> bytes:
    """The payload again. Raises zlib.error when it is damaged."""
    return zlib.decompress(held) if field == COMPRESSED else held
