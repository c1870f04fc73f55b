"""The payload of a dead letter: in its hash, compressed if that saves space, or in a file on a receiver's host.

| field | holds |
|---|---|
| `job` | the job, unchanged |
| `zjob` | the job, compressed with zlib |
| `moved` | `<folder>/<file>`: the name of the receiver's folder, and the file in it; see `room.py` |
"""

import zlib

PLAIN, COMPRESSED, MOVED = "job", "zjob", "moved"
_WORTH_IT = 4096
"""Smallest payload, in bytes, that is compressed."""


def pack(job: bytes) -> tuple[str, bytes]:
    """(field, value) for a payload, compressed if that saves at least a tenth."""
    if len(job) >= _WORTH_IT:
        compressed = zlib.compress(job, 1)  # the fastest level, because it blocks the caller: about 10 ms for 1 MB
        if len(compressed) < 0.9 * len(job):
            return COMPRESSED, compressed
    return PLAIN, job


def unpack(field: str, held: bytes) -> bytes:
    """The payload. Raises zlib.error if it is damaged."""
    return zlib.decompress(held) if field == COMPRESSED else held
