"""The sender's tests: real receivers on loopback sockets; the command as a process, or in a thread to save time."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from examples.sender.__main__ import main
from examples.sender.fixtures import glartek, recording_receiver

__all__ = ["command", "glartek", "recording_receiver", "run"]
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


@dataclass(frozen=True, slots=True)
class Started:
    """A command as the process that a user starts."""

    process: asyncio.subprocess.Process

    async def finished(self, stdin: bytes = b"") -> Finished:
        out, err = await asyncio.wait_for(self.process.communicate(stdin), 30)
        return Finished(self.process.returncode or 0, out.decode(), err.decode())


StartSender = Callable[..., Awaitable[Started]]


@pytest.fixture
def start_sender() -> StartSender:
    """Start `python -m examples.sender …`."""

    async def start(*arguments: str, **environment: str) -> Started:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "examples.sender", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment},
        )
        return Started(process)

    return start


@pytest.fixture
def command(start_sender: StartSender) -> Run:
    """Run `python -m examples.sender …` as the process that a user starts, to its end."""

    async def finished(*arguments: str, stdin: bytes = b"", **environment: str) -> Finished:
        return await (await start_sender(*arguments, **environment)).finished(stdin)

    return finished


@pytest.fixture
def run() -> Run:
    """Run the same command in a thread of this process: it has its own event loop, the receiver keeps this one."""

    async def finished(*arguments: str, stdin: bytes = b"", **environment: str) -> Finished:
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            mock.patch.dict(os.environ, environment),
        ):
            code = await asyncio.to_thread(main, list(arguments))
        return Finished(code, out.getvalue(), err.getvalue())

    return finished
