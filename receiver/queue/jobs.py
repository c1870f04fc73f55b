"""A job's data: arq's own layout in msgpack instead of pickle, so that reading a job cannot run code."""

from collections.abc import Sequence
from typing import Any

import msgpack

from receiver.queue.keys import JOB

FUNCTION = "deliver"
"""The arq function that a delivery's job names."""


def pack_job(function: str, args: list[Any], enqueued_ms: int) -> bytes:
    """An arq job in msgpack, in the layout of `arq.jobs.serialize_job`; a contract test compares both."""
    job: bytes = _packer.pack({"t": None, "f": function, "a": args, "k": {}, "et": enqueued_ms})
    return job


_packer = msgpack.Packer()  # shared, because each one allocates a buffer


def unpack(data: bytes) -> Any:
    """The deserializer on both sides of the queue."""
    return msgpack.unpackb(data, strict_map_key=False)


def job_key(job_id: str) -> str:
    return JOB + job_id


def pack_batch(items: Sequence[bytes]) -> bytes:
    """A msgpack list of already packed items."""
    return b"".join([msgpack.Packer().pack_array_header(len(items)), *items])


def pack(value: Any) -> bytes:
    """A job or a result in msgpack; values of other types, such as exceptions, become their `repr`."""
    packed: bytes = msgpack.packb(value, default=repr)
    return packed
