"""The connection, where what it meets is worse than a refusal."""

import asyncio
import time

import pytest

from receiver.connection import TROUBLE, connect


async def test_a_connection_that_is_accepted_and_dropped_is_trouble_at_once() -> None:
    """A load balancer before a Redis that is down costs milliseconds and one of `TROUBLE`, not seconds of recursion."""
    opened = 0

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await reader.read(100)
        writer.transport.abort()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    redis = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout=0.5, retries=1)
    began = time.monotonic()
    with pytest.raises(TROUBLE):
        await redis.get("anything")
    await redis.aclose()
    server.close()
    assert opened <= 4
    assert time.monotonic() - began < 1
