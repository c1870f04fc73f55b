"""A TCP proxy in front of Valkey that drops connections, or limits the rate like a link between two sites."""

import asyncio
import random
import socket
from contextlib import suppress
from typing import Self

QUIET = 0.002
"""The share of messages lost at all times: connections break now and then."""
CHUNK = 1 << 14


class Proxy:
    """Passes bytes between `port` and `target`, both on loopback.

    `loss` is the share of messages at which a connection is dropped: half of them on the way to Valkey, which never
    sees the command, and half on the way back, after Valkey has executed it. `rate` limits what all connections
    together send to Valkey, in bytes a second, `reply_rate` what Valkey sends back; None for no limit.
    """

    def __init__(self, port: int, target: int, seed: int) -> None:
        self.port, self._target = port, target
        self._rng = random.Random(f"{seed} proxy")
        self.loss = QUIET
        self.rate: float | None = None
        self.reply_rate: float | None = None
        self.dropped = 0
        self._links = asyncio.Lock(), asyncio.Lock()  # for each direction; connections share it, a chunk at a time
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)  # a real link buffers little
        self._server = await asyncio.start_server(self._connected, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        valkey, to_valkey = await asyncio.open_connection("127.0.0.1", self._target)
        pumps = [
            asyncio.create_task(self._pump(client, to_valkey, is_reply=False)),
            asyncio.create_task(self._pump(valkey, to_client, is_reply=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when="FIRST_COMPLETED")
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            to_valkey.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_reply: bool) -> None:
        while data := await source.read(CHUNK):
            if self._rng.random() < self.loss:
                self.dropped += 1
                return
            if rate := self.reply_rate if is_reply else self.rate:
                async with self._links[is_reply]:
                    await asyncio.sleep(len(data) / rate)
            sink.write(data)
            await sink.drain()
