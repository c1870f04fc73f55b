"""`python -m receiver spool`: what waits, what could not go and what was damaged, to see, retry and drop."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from receiver.spool import Spool
from tests.conftest import TOKEN, Process, Server, Start
from tests.receiver.spool.conftest import KEYS, delivery, made


@pytest.fixture
def aside(path: Path) -> None:
    """A spool in which one delivery waits and two were set aside: numbers 1 and 2."""

    async def make() -> None:
        spool = Spool(path)
        await spool.write([delivery("e1"), delivery("e2"), delivery("e3")])
        for _ in range(2):
            await spool.set_aside((await spool.read(1, 1))[0], "took more than 30 s")
        await spool.close()

    asyncio.run(make())


def command(start: Start, *arguments: str, url: str = "redis://127.0.0.1:1", code: int = 0) -> str:
    """What a command says."""
    process: Process = start(
        "-m", "receiver", "spool", *arguments, SPOOL_PATH="spool.db", REDIS_URL=url, WEBHOOK_TOKEN=TOKEN
    )
    assert process.wait() == code, process.output
    assert "Traceback" not in process.output
    return process.output


def listed(start: Start) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(command(start, "list", "--json"))
    return report


@pytest.mark.usefixtures("aside")
def test_the_list_shows_what_waits_and_what_was_set_aside(path: Path, start: Start) -> None:
    """Each with its delivery and why it could not go; as a table, and as JSON."""
    path.with_name("spool.db.damaged-20261126T000000Z").touch()
    report = listed(start)
    assert report["waiting"] == 1
    assert 0 <= time.time() - report["oldest"] < 60
    assert [(one["number"], one["delivery"], one["tries"]) for one in report["set_aside"]] == [
        (1, made("e1").id, 1),
        (2, made("e2").id, 1),
    ]
    said = command(start, "list")
    assert "waiting: 1, the oldest for" in said
    assert made("e2").id in said
    assert f"python -m receiver spool recover {path}.damaged-20261126T000000Z" in said


def test_a_list_of_no_spool_is_empty(path: Path, start: Start) -> None:
    """It makes none."""
    assert listed(start) == {"waiting": 0, "oldest": None, "set_aside": [], "damaged": [], "trouble": ""}
    assert not path.exists()


@pytest.mark.usefixtures("aside")
async def test_retry_stores_what_can_be_stored(start: Start, redis: ArqRedis, valkey_url: str) -> None:
    """All, or those that are named; with what happened to each, and exit code 1 while one cannot go."""
    await redis.set(KEYS.delivery(made("e1").id), "not a hash")
    said = command(start, "retry", url=valkey_url, code=1)
    assert "1: ResponseError: WRONGTYPE" in said
    assert "2: stored" in said
    assert [one["number"] for one in listed(start)["set_aside"]] == [1]
    assert await redis.zcard(KEYS.queue) == 1
    await redis.delete(KEYS.delivery(made("e1").id))
    assert json.loads(command(start, "retry", "1", "--json", url=valkey_url)) == [{"number": 1, "error": ""}]
    assert listed(start)["set_aside"] == []
    assert await redis.zcard(KEYS.queue) == 2


@pytest.mark.usefixtures("aside")
def test_retry_without_redis_says_so(start: Start, server: Server) -> None:
    """Nothing is lost by it."""
    server.kill()
    assert "1: ConnectionError" in command(start, "retry", "1", "7", url=server.url, code=1)
    assert len(listed(start)["set_aside"]) == 2


@pytest.mark.usefixtures("aside")
def test_drop_deletes_what_is_named(start: Start) -> None:
    """And nothing else; a number that is not there is a line."""
    assert command(start, "drop", "1", "3", code=2).startswith("3: expected a number")
    assert [one["number"] for one in listed(start)["set_aside"]] == [1, 2]
    assert command(start, "drop", "1") == "1: dropped\n"
    assert [one["number"] for one in listed(start)["set_aside"]] == [2]
    assert json.loads(command(start, "drop", "2", "--json")) == [{"number": 2, "dropped": True}]
    assert listed(start)["waiting"] == 1
