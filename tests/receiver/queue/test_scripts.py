"""Scripts run on a server that has never seen them, and on one that forbids SCRIPT."""

from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.exceptions import NoPermissionError

from receiver.queue.connection import connect
from receiver.queue.scripts import Script
from tests.conftest import ROOT

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture
async def restricted(redis: ArqRedis, valkey_url: str) -> AsyncIterator[ArqRedis]:
    """A client whose user may not use SCRIPT."""
    await redis.execute_command("ACL SETUSER", "restricted", "on", "nopass", "~*", "+@all", "-script")
    await redis.script_flush()
    client = connect(valkey_url.replace("unix://", "unix://restricted:x@"))
    yield client
    await client.aclose()
    await redis.execute_command("ACL DELUSER", "restricted")


async def test_a_script_needs_no_script_command(restricted: ArqRedis) -> None:
    """At first by its text, then by its hash."""
    with pytest.raises(NoPermissionError):
        await restricted.script_load(ADD.text)
    assert await ADD(restricted, ["n"], [2]) == 2
    assert await ADD(restricted, ["n"], [3]) == 5


def test_no_script_is_registered_with_the_client() -> None:
    """redis-py's `register_script` would send SCRIPT LOAD."""
    folders = [ROOT / folder for folder in ("receiver", "worker", "examples")]
    texts = {path: path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")}
    assert [path for path, text in texts.items() if "register_script(" in text] == []


async def test_a_server_that_forgot_a_script_is_sent_it_again(restricted: ArqRedis, redis: ArqRedis) -> None:
    """A restart, a failover or SCRIPT FLUSH forgets them all."""
    await ADD(restricted, ["n"], [1])
    await redis.script_flush()
    assert await ADD(restricted, ["n"], [1]) == 2


async def test_a_script_that_is_waited_for_runs_once(restricted: ArqRedis) -> None:
    """With WAIT behind it, by its text or its hash: what it answered, and how many replicas have it."""
    assert await ADD.replicated(restricted, ["n"], [1], (0, 10)) == (1, 0)
    assert await ADD.replicated(restricted, ["n"], [1], (0, 10)) == (2, 0)
