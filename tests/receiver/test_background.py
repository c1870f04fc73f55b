"""What runs beside the work of a process goes on as long as the process, and a failure of it is told."""

import asyncio
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from receiver import background as module
from receiver.background import background, tick
from tests.conftest import Server, Start, wait_until
from tests.receiver.conftest import StartReceiver, event

FAILED = "a background task failed: it is started again"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause before a failed task is started again in this process."""
    monkeypatch.setattr(module, "PAUSE", 0.0)


class Task:
    """Raises each of `errors` in turn, then runs until cancelled."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = [*errors]
        self.started = 0
        self.is_running = asyncio.Event()

    async def run(self) -> None:
        self.started += 1
        if self.errors:
            raise self.errors.pop(0)
        self.is_running.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("error", [ValueError("a bug"), asyncio.CancelledError()])
async def test_what_ends_too_early_is_told_and_started_again(error: BaseException) -> None:
    """One line, with its name; what runs beside it is left alone."""
    task, other = Task(error), Task()
    with capture_logs() as logs:
        async with background(reports=task.run, upkeep=other.run):
            await asyncio.wait_for(task.is_running.wait(), 5)
    told = [(line["log_level"], line["event"], line["task"]) for line in logs]
    assert told == [("error", FAILED, "reports")]
    assert (task.started, other.started) == (2, 1)


async def test_what_returns_has_finished() -> None:
    """It is no failure, and not started again."""
    runs = 0

    async def once() -> None:
        nonlocal runs
        runs += 1

    other = Task(ValueError("a bug"))
    with capture_logs() as logs:
        async with background(upkeep=once, reports=other.run):
            await asyncio.wait_for(other.is_running.wait(), 5)
    assert (runs, len(logs)) == (1, 1)


async def test_what_fails_while_it_is_stopped_does_not_hold_up_the_end() -> None:
    """An error in its last words would else have it started again, for ever."""
    running = asyncio.Event()

    async def run() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("a bug")

    async with asyncio.timeout(5), background(alerts=run):
        await running.wait()


async def test_those_who_wait_for_a_tick_wake_up_together() -> None:
    """Whenever they began: at a multiple of the time, and so at the same one."""
    loop = asyncio.get_running_loop()

    async def woken(after: float) -> float:
        await asyncio.sleep(after)
        await tick(0.3)
        return loop.time() / 0.3

    await tick(0.3)
    times = await asyncio.gather(*(woken(after) for after in (0.0, 0.02, 0.05)))
    assert len({round(time) for time in times}) == 1
    assert all(abs(time - round(time)) < 0.2 for time in times)


def test_a_receiver_goes_on_and_tells(start_receiver: StartReceiver, tmp_path: Path) -> None:
    """Its alerts fail at a file that they cannot read: it says so, stores, and alerts once the file is mended."""
    book = tmp_path / "spool.db.alerts"
    book.write_text("[]")
    receiver = start_receiver(REDIS_URL="redis://127.0.0.1:1", ALERTS_EVERY="0.1s", ALERTS_AFTER="0.1s")
    receiver.process.wait_for(FAILED)
    assert receiver.post(event("e1")).status == 200
    book.write_text("")
    receiver.process.wait_for("GlartekRedisAway")


def test_a_worker_goes_on_and_tells(start: Start, server: Server, tmp_path: Path) -> None:
    """Its alerts fail at a list of processes that is none: it says so, and alerts once the list is mended."""
    (tmp_path / "acts.py").write_text("async def act(event, ctx): ...\n\n\nROUTES = {'*': [act]}\n")
    with Redis.from_url(server.url) as client:
        client.hset("glartek:processes", "somebody", "nothing")
        worker = start("-m", "worker", REDIS_URL=server.url, HANDLERS="acts:ROUTES", ALERTS_EVERY="0.1s")
        worker.wait_for(FAILED)
        assert not worker.has_ended()
        client.hdel("glartek:processes", "somebody")
        wait_until(lambda: client.get("glartek:alerts"), explain=lambda: worker.output)
