"""`python -m worker tail`: what happens, as it happens."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from receiver.acceptance import accept_directly
from tests.conftest import Start, until
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from worker import GiveUp, RetryLater
from worker.tail import MOST, Tail


def once(attempt: int) -> None:
    if attempt == 1:
        raise RetryLater(0.01, "busy")


def give_up(_: int) -> None:
    raise GiveUp("not today")


def told(lines: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(line["what"], line.get("handler", ""), line.get("reason", "")) for line in lines]


async def test_it_tells_each_step_once_and_why(rig: Rig) -> None:
    """An acceptance, a duplicate, a retry, an end and a dead letter; what was before it began is not told."""
    await rig.send("before")
    tail = Tail(rig.redis, KEYS)
    assert await tail.look() == []
    sent = await rig.send("e1")
    assert told(await tail.look()) == [("accepted", "", "")]
    await accept_directly(rig.redis, KEYS, delivery_of(body_of("e1")))
    [line] = await tail.look()
    assert (line["what"], line["count"], line["delivery"]) == ("duplicate", 1, sent.id)
    lines = []
    async with rig.working({"*": [make_handler("again", once), make_handler("gives_up", give_up)]}):
        await rig.closed(sent)
        lines = told(await tail.look())
    assert sorted(lines) == [("dead", "h.gives_up", "not today"), ("done", "h.again", "")]
    assert await tail.look() == []


async def test_it_says_when_it_could_not_keep_up(rig: Rig) -> None:
    """More deliveries at once than it looks at: it tells that some were missed, and goes on with the newest."""
    tail = Tail(rig.redis, KEYS)
    await rig.send("first")
    await tail.look()
    await rig.redis.execute_command(
        "RPUSH", KEYS.recent, *(f"{KEYS.delivery('')}{number:024x}" for number in range(MOST))
    )
    lines = await tail.look()
    assert told(lines) == [("missed", "", f"more than {MOST} were accepted since the last look")]


async def test_the_command_writes_a_line_each(rig: Rig, start: Start) -> None:
    """One JSON object a line with --json, at once, until Ctrl-C."""
    await rig.send("before")
    tail = start("-m", "worker", "tail", "--json", "--type", "action.created", REDIS_URL=rig.url)
    numbers = count()

    async def something_is_told() -> bool:
        number = next(numbers)  # it may not follow yet when the first arrive
        await rig.send(f"e{number}")
        await rig.send(f"x{number}", "action.solved")
        return "\n" in tail.output

    await until(something_is_told, timeout=20)
    line = json.loads(tail.output.splitlines()[0])
    assert (line["what"], line["type"]) == ("accepted", "action.created")
    tail.signal(signal.SIGINT)
    assert tail.wait() == 0
    assert "Traceback" not in tail.output


@pytest.mark.parametrize(
    ("goes_to", "told"), [("pipe", b""), ("/dev/full", b"cannot write: No space left on device\n")]
)
async def test_a_reader_that_goes_or_a_full_disk_is_not_taken_for_redis(rig: Rig, goes_to: str, told: bytes) -> None:
    """Behind `| head -1` it ends without a word, as every command does; a full disk is said. Exit code 1."""
    await rig.send("before")
    reads, writes = os.pipe() if goes_to == "pipe" else (None, os.open(goes_to, os.O_WRONLY))
    tail = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "tail"),
        stdout=writes,
        stderr=subprocess.PIPE,
        env=os.environ | {"REDIS_URL": rig.url},
    )
    os.close(writes)
    if reads is not None:
        os.close(reads)
    numbers = count()

    async def it_has_ended() -> bool:
        await rig.send(f"e{next(numbers)}")
        return tail.returncode is not None

    try:
        await until(it_has_ended, timeout=20)
        assert (tail.returncode, (await tail.communicate())[1]) == (1, told)
    finally:
        with suppress(ProcessLookupError):
            tail.kill()
