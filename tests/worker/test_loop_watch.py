"""A handler that blocks the event loop, or does not end when its time is up, is a warning that names it."""

import asyncio
import threading
import time

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

import worker.loop_watch
from tests.conftest import until
from tests.worker.conftest import Rig, make_handler
from worker.loop_watch import Watch


def warned(logs: list[EventDict], event: str) -> list[EventDict]:
    return [line for line in logs if line["event"] == event]


async def test_a_handler_that_blocks_the_event_loop_is_named_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the delivery and the line while it blocks, and with its time when it has ended."""
    monkeypatch.setattr(worker.loop_watch, "TICK", 0.05)
    ended = threading.Event()

    def block(_: int) -> None:
        ended.wait(10)  # the watch looks from another thread

    with capture_logs() as logs:
        async with rig.working({"*": [make_handler("block", block)]}):
            delivery = await rig.send("e1")
            threading.Thread(target=_when_warned, args=(logs, ended)).start()
            await rig.closed(delivery)
            await until(lambda: _has(logs, "the event loop goes on"))
    [blocked], [goes_on] = warned(logs, "the event loop is blocked"), warned(logs, "the event loop goes on")
    assert (blocked["handler"], blocked["delivery"]) == ("h.block", delivery.id)
    assert blocked["at"].startswith(f"{__file__}:")
    assert blocked["at"].endswith(" in block")
    assert goes_on["blocked_s"] >= 0.2


def _when_warned(logs: list[EventDict], ended: threading.Event) -> None:
    deadline = time.monotonic() + 10
    while not warned(logs, "the event loop is blocked") and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # it goes on being blocked, and there is nothing more to say
    ended.set()


async def _has(logs: list[EventDict], event: str) -> bool:
    return bool(warned(logs, event))


async def test_a_loop_that_was_frozen_with_the_whole_process_is_not_blamed() -> None:
    """One look without an answer says nothing: both threads may just have come back."""
    watch = Watch(asyncio.get_running_loop(), 30)
    with capture_logs() as logs:
        watch._look()
        watch._look()
        assert logs == []
        await asyncio.sleep(0)
        watch._look()
        watch._look()
        assert logs == []
        for _ in range(5):
            watch._look()
    assert len(warned(logs, "the event loop is blocked")) == 1


async def test_a_handler_that_goes_on_after_its_time_is_named(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It swallowed its time-out and holds a place for good: somebody should know which one does."""
    monkeypatch.setattr(worker.loop_watch, "TICK", 0.05)
    monkeypatch.setattr(worker.loop_watch, "OVERDUE", 0.1)
    may_end = asyncio.Event()

    async def swallow(_: int) -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    with capture_logs() as logs:
        async with rig.working({"*": [make_handler("swallow", swallow)]}, handler_timeout=0.05):
            delivery = await rig.send("e1")
            await until(lambda: _has(logs, "a handler does not end when its time is up"))
            may_end.set()
            await rig.closed(delivery)
    [line] = warned(logs, "a handler does not end when its time is up")
    assert (line["handler"], line["delivery"]) == ("h.swallow", delivery.id)
