"""The sender's tests: the real command in a process of its own, real receivers on loopback sockets."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.sender.recording import RecordingReceiver

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command wrote and how it ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Awaitable[Finished]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def run() -> Run:
    """Run `python -m examples.sender …` to its end."""

    async def finished(*arguments: str, stdin: bytes = b"", **environment: str) -> Finished:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "examples.sender", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 30)
        return Finished(process.returncode or 0, out.decode(), err.decode())

    return finished


@pytest.fixture
async def receiver() -> AsyncIterator[RecordingReceiver]:
    async with RecordingReceiver() as recording:
        yield recording
