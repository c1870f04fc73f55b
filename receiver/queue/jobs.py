"""A job as it lies on the queue: arq's own layout, in msgpack, so that reading one can run no code."""

from collections.abc import Sequence
from typing import Any

import msgpack

from receiver.queue.keys import JOB

FUNCTION = "deliver"
"""The arq function that a delivery's job names."""


def pack_job(function: str, args: list[Any], enqueued_ms: int) -> bytes:
    """An arq job in msgpack: arq's own layout (`arq.jobs.serialize_job`), held by a contract test."""
    job: bytes = _packer.pack({"t": None, "f": function, "a": args, "k": {}, "et": enqueued_ms})
    return job


_packer = msgpack.Packer()  # one for all: each brings a buffer of its own


def unpack(data: bytes) -> Any:
    """What msgpack holds: the deserializer on both sides of the queue, which can run no code."""
    return msgpack.unpackb(data, strict_map_key=False)


def job_key(job_id: str) -> str:
    return JOB + job_id


def pack_batch(items: Sequence[bytes]) -> bytes:
    """The msgpack list of items that were packed before."""
    return b"".join([msgpack.Packer().pack_array_header(len(items)), *items])


def pack(value: Any) -> bytes:
    """A job or a result in msgpack; what msgpack does not know (an exception) is kept as its text, never pickled."""
    packed: bytes = msgpack.packb(value, default=repr)
    return packed
