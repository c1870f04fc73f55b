"""`python -m tests.hostile`: attacks on the public port beside a steady sender, whose answers must not suffer."""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from receiver.queue.valkey import embedded
from tests.bench.processes import Process, free_port
from tests.hostile.strangers import STRANGERS, head

TOKEN = "a-test-token-0123456789abcdef"
PATH = f"/webhooks/glartek/{TOKEN}"
SLOWEST = 1.0
"""Most seconds for an answer to the steady sender."""
BUFFERED = 16 * 1024 * 1024
MEMORY = 60e6 + 3 * BUFFERED + 30e6
"""Most bytes of the receiver's memory: the process, its buffers and its connections."""
RATE = 40
"""Events a second of the steady sender, half of them on new connections."""


@dataclass
class Sent:
    """The steady sender's answers during one attack."""

    stranger: str
    statuses: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    memory_mb: float = 0.0

    def holds(self) -> bool:
        return set(self.statuses) == {"200"} and self.slowest_s < SLOWEST and self.memory_mb * 1e6 < MEMORY


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One of: {', '.join(STRANGERS)}; repeatable.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="How long each attack lasts.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run the attacks one after the other beside a steady sender."""
    if unknown := sorted({*(only or ())} - {*STRANGERS}):
        typer.echo(f"--only {unknown[0]}: expected {', '.join(STRANGERS)}", err=True)
        sys.exit(2)
    found = asyncio.run(run(only or list(STRANGERS), seconds))
    broken = [sent.stranger for sent in found if not sent.holds()]
    if as_json:
        typer.echo(json.dumps({"holds": not broken, "broken": broken, "strangers": [asdict(sent) for sent in found]}))
    else:
        show(found)
        typer.echo(f"broken: {', '.join(broken)}" if broken else "the steady sender did not notice")
    sys.exit(1 if broken else 0)


def show(found: list[Sent]) -> None:
    table = Table("stranger", "answers", "other than 200", "slowest", "receiver's memory")
    for sent in found:
        others = {status: count for status, count in sent.statuses.items() if status != "200"}
        slowest, memory = f"{sent.slowest_s * 1000:.0f} ms", f"{sent.memory_mb:.0f} MB"
        table.add_row(sent.stranger, str(sent.statuses.total()), str(others or "none"), slowest, memory)
    Console().print(table)


async def run(strangers: list[str], seconds: float) -> list[Sent]:
    """The steady sender's answers during each attack."""
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, embedded(Path(folder) / "valkey") as url:
        receiver, port = _receiver(Path(folder), url)
        try:
            found = []
            for stranger in strangers:
                progress.print(f"{stranger} …", markup=False, highlight=False)
                async with attacked(stranger, port, seconds):
                    found.append(await steadily(Sent(stranger), receiver, port, seconds))
            return found
        finally:
            receiver.stop()


def _receiver(folder: Path, url: str) -> tuple[Process, int]:
    port = free_port()
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)); "
    limited += "runpy.run_module('receiver', run_name='__main__')"
    settings = {"REDIS_URL": url, "WEBHOOK_TOKEN": TOKEN, "PORT": str(port), "LOG_FORMAT": "json",
                "SPOOL_PATH": str(folder / "spool.db"), "MAX_BUFFERED_BYTES": str(BUFFERED)}  # fmt: skip
    receiver = Process([sys.executable, "-c", limited], settings, folder / "receiver.log")
    receiver.until_listening(port)
    return receiver, port


@asynccontextmanager
async def attacked(stranger: str, port: int, seconds: float) -> AsyncIterator[None]:
    """Run the attack in a separate process while the block runs."""
    arguments = ("-m", "tests.hostile.strangers", stranger, str(port), PATH, str(seconds + 5))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=Path(__file__).parents[2])
    await asyncio.sleep(0.7)  # time to start
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def steadily(sent: Sent, receiver: Process, port: int, seconds: float) -> Sent:
    """Send RATE events a second, whatever the answers are, and measure the receiver's memory."""
    until = time.monotonic() + seconds
    kept = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.TaskGroup() as group:
        number = 0
        while time.monotonic() < until:
            number += 1
            sent.memory_mb = max(sent.memory_mb, receiver.memory() / 1e6)
            group.create_task(_post(sent, port, number))
            kept = await _post_on(sent, port, kept, number)
            await asyncio.sleep(2 / RATE)
    kept[1].close()
    return sent


async def _post(sent: Sent, port: int, number: int) -> None:
    began = time.monotonic()
    try:
        connection = await asyncio.open_connection("127.0.0.1", port)
        status = await _ask(connection, f"new-{number}")
        connection[1].close()
    except OSError as error:
        status = type(error).__name__
    _note(sent, status, began)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _post_on(sent: Sent, port: int, kept: Connection, number: int) -> Connection:
    """Send on the kept connection; open a new one if it was closed, as any client does."""
    began = time.monotonic()
    try:
        status = await _ask(kept, f"kept-{number}")
    except OSError:
        kept = await asyncio.open_connection("127.0.0.1", port)
        status = await _ask(kept, f"kept-{number}")
    _note(sent, status, began)
    return kept


async def _ask(connection: Connection, event: str) -> str:
    body = json.dumps({"id": f"{event}-{os.getpid()}", "type": "action.created"}).encode()
    connection[1].write(head(PATH, f"content-length: {len(body)}") + body)
    try:
        answer = await connection[0].readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("closed without an answer") from None
    return answer.split(b" ")[1].decode()


def _note(sent: Sent, status: str, began: float) -> None:
    sent.statuses[status] += 1
    sent.slowest_s = max(sent.slowest_s, round(time.monotonic() - began, 3))


if __name__ == "__main__":
    typer.run(main)
