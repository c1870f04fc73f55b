"""For every test of this tree, the kit's and your own: what each may ask for by name."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from arq.connections import ArqRedis

from receiver.queue.connection import connect
from receiver.queue.valkey import embedded

os.environ["ENV_FILE"] = ""  # no test reads this machine's .env, nor finds the `make run` that is up here


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asyncio is what the kit runs on; trio is not."""
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Valkey, append-only file and all, for the whole session."""
    with embedded(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[ArqRedis]:
    """A client of an empty Valkey."""
    client = connect(valkey_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def stand_ins() -> Iterator[str]:
    """The base URL of the stand-ins for Teams and external systems; `examples/sink.py` says what they take and tell."""
    pytest.importorskip("examples.sink", reason="examples/ was deleted")
    command = [sys.executable, "-m", "examples.sink", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip()
        yield url
        process.terminate()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """A client that does send, for a handler that is tried against the stand-ins."""
    async with httpx2.AsyncClient() as client:
        yield client
