"""How the receivers under check are served: on an ordinary socket, or by few threads."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from examples.sender.http import wire
from examples.sender.http.recording import Answer, Arrival, RecordingReceiver
from tests.conftest import unused_port

PATH = "/webhooks/t0kenThatIsLongEnough4Tests"
Answering = Callable[[Arrival], Answer]


@asynccontextmanager
async def serving(answers: Answering, _folder: Path | None = None) -> AsyncIterator[str]:
    async with RecordingReceiver(answers, path=PATH) as receiver:
        yield receiver.url


@asynccontextmanager
async def eight_connections_at_a_time(answers: Answering, _folder: Path) -> AsyncIterator[str]:
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


@asynccontextmanager
async def answering_from_memory(_answers: Answering, folder: Path) -> AsyncIterator[str]:
    """A process of its own that answers at once and writes half a second later; `sh restart` kills and starts it."""
    port = unused_port()
    start = f"{sys.executable} {Path(__file__).with_name('from_memory.py')} {port} {folder} >/dev/null 2>&1 &"
    (folder / "restart").write_text(f"cd {folder}\ntest -f pid && kill -9 $(cat pid)\n{start}\necho $! >pid\n")
    try:
        await (await asyncio.create_subprocess_exec("sh", str(folder / "restart"))).wait()
        url = f"http://127.0.0.1:{port}{PATH}"
        for _ in range(200):
            if (await wire.post(url, b"{}", {}, 1)).status:
                break
            await asyncio.sleep(0.05)
        yield url
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
