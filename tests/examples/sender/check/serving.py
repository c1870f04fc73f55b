"""How the receivers under check are served: on an ordinary socket, or by few threads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from examples.sender.http.recording import Answer, Arrival, RecordingReceiver

PATH = "/webhooks/t0kenThatIsLongEnough4Tests"
Answering = Callable[[Arrival], Answer]


@asynccontextmanager
async def serving(answers: Answering) -> AsyncIterator[str]:
    async with RecordingReceiver(answers, path=PATH) as receiver:
        yield receiver.url


@asynccontextmanager
async def eight_connections_at_a_time(answers: Answering) -> AsyncIterator[str]:
    """A server with eight threads: whoever stalls keeps one of them."""
    turn = asyncio.Semaphore(8)
    async with serving(answers) as behind:
        host, port = behind.split("/")[2].split(":")

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with turn:
                upstream, down = await asyncio.open_connection(host, int(port))
                await asyncio.gather(_pump(reader, down), _pump(upstream, writer))

        server = await asyncio.start_server(forward, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{PATH}"
        finally:
            server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
