"""The worker as a process: nothing that a handler does ends it, and nothing keeps it from ending when it is told to."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Process, Start, until
from tests.worker.conftest import Rig
from worker.process import ABANDONED

HANDLERS = '''
import asyncio, os, signal, sys, threading, time
from decimal import Decimal
from worker import GiveUp, RetryLater


class PanicException(BaseException):
    """As pyo3 raises it where a Rust extension panics."""

class Unspeakable(Exception):
    def __str__(self):
        raise KeyboardInterrupt

class Wordless(Exception):
    def __str__(self):
        return 5

class Nameless(GiveUp):
    def __init__(self):
        pass

class Timeless(RetryLater):
    def __init__(self):
        pass

RAISED = {
    "KeyboardInterrupt": KeyboardInterrupt(),
    "SystemExit": SystemExit(0),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "MemoryError": MemoryError(),
    "StopIteration": StopIteration(),
    "StopAsyncIteration": StopAsyncIteration(),
    "PanicException": PanicException("index out of bounds"),
    "ExceptionGroup": ExceptionGroup("two", [OSError("a"), ValueError("b")]),
    "BaseExceptionGroup": BaseExceptionGroup("two", [KeyboardInterrupt(), SystemExit(1)]),
    "huge": OSError("x" * 10_000_000),
    "half": OSError("half a pair: \\ud83d"),
    "null": OSError("null \\0 and \\x1b[31m"),
    "Unspeakable": Unspeakable(),
    "Wordless": Wordless(),
    "Nameless": Nameless(),
    "Timeless": Timeless(),
}

async def act(event, ctx):
    do = event.payload["do"]
    if do in RAISED:
        raise RAISED[do]
    await globals()[do]()

async def sibling(event, ctx):
    note("sibling", event.id)

async def nothing():
    pass

async def recursion():
    await recursion()

async def decimal(waited=[]):
    if not waited:
        waited.append(1)
        raise RetryLater(Decimal("0.01"), "soon")

async def raise_it(error):
    raise error

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raise_it(KeyboardInterrupt()))

async def child():
    await asyncio.create_task(raise_it(SystemExit(1)))

async def orphan():
    asyncio.create_task(raise_it(KeyboardInterrupt()))
    await asyncio.sleep(0.05)

async def callback():
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(0.05)

async def thread():
    await asyncio.to_thread(sys.exit, 1)

async def stop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.05)

async def cancel_all():
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0.05)

async def signal_and_raise():
    def at_once():
        os.kill(os.getpid(), signal.SIGTERM)
        raise KeyboardInterrupt

    asyncio.get_running_loop().call_soon(at_once)

async def swallow():
    note("begun", os.getpid())
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def block_in_a_thread():
    note("begun", os.getpid())
    await asyncio.to_thread(time.sleep, 60)

async def block():
    note("begun", os.getpid())
    time.sleep(float(os.environ.get("BLOCK", "60")))

async def own_thread():
    threading.Thread(target=time.sleep, args=(60,), name="mine").start()
    note("begun", os.getpid())

def note(*words):
    with open("journal", "a") as journal:
        print(*words, file=journal)

ROUTES = {"*": [act, sibling]}
'''

OTHERS = """
import acts

async def act(event, ctx): pass

async def sibling(event, ctx): pass

act.__module__ = sibling.__module__ = "acts"
ROUTES = {"*": [act, sibling]}
"""

DEAD = {
    "KeyboardInterrupt": "KeyboardInterrupt; all 2",
    "SystemExit": "SystemExit: 0; all 2",
    "GeneratorExit": "GeneratorExit; all 2",
    "CancelledError": "CancelledError; all 2",
    "MemoryError": "MemoryError; all 2",
    "StopIteration": "RuntimeError: coroutine raised StopIteration; all 2",
    "StopAsyncIteration": "StopAsyncIteration; all 2",
    "PanicException": "PanicException: index out of bounds; all 2",
    "ExceptionGroup": "ExceptionGroup: two (2 sub-exceptions); all 2",
    "BaseExceptionGroup": "BaseExceptionGroup: two (2 sub-exceptions); all 2",
    "huge": "OSError: xxxxx",
    "half": r"OSError: half a pair: \ud83d; all 2",
    "null": "OSError: null",
    "Unspeakable": "Unspeakable; all 2",
    "Wordless": "Wordless; all 2",
    "Nameless": "Nameless",
    "Timeless": "Timeless; all 2",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "group": "KeyboardInterrupt; all 2",
    "child": "SystemExit: 1; all 2",
    "thread": "SystemExit: 1; all 2",
}
"""What a handler raises, and the reason in its dead letter."""
DONE = ("nothing", "decimal", "orphan", "callback", "stop")
"""What it does and is done all the same: the error was in nobody's way but the event loop's."""

Run = Callable[..., Process]


@pytest.fixture
def run(start: Start, rig: Rig, tmp_path: Path) -> Run:
    """Start a worker; settings as keyword arguments."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    (tmp_path / "others.py").write_text(OTHERS, encoding="utf-8")
    (tmp_path / "journal").touch()

    def run_one(**settings: str) -> Process:
        defaults = {"REDIS_URL": rig.url, "HANDLERS": "acts:ROUTES", "LEASE": "1s", "SHUTDOWN_GRACE": "0.1s"}
        return start("-m", "worker", **defaults | {"RETRY_BASE": "0.01s", "MAX_TRIES": "2"} | settings)

    return run_one


def journal(process: Process, word: str) -> list[str]:
    """What follows the word, in each line that begins with it."""
    lines = (process.log.parent / "journal").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


async def begun(process: Process) -> None:
    async def has_begun() -> bool:
        return bool(journal(process, "begun"))

    await until(has_begun)


def said(process: Process, event: str) -> list[dict[str, Any]]:
    """Its log lines with these words."""
    lines = [json.loads(line) for line in process.output.splitlines()]
    return [line for line in lines if line["event"] == event]


async def test_whatever_a_handler_raises_is_its_own_failure(run: Run, rig: Rig) -> None:
    """Counted and told by its name; its siblings and all other events are done once, by the same process."""
    process = run()
    bad = {do: await rig.send(do, do=do) for do in (*DEAD, *DONE)}
    good = [await rig.send(f"good{number}", do="nothing") for number in range(20)]
    await rig.closed(*bad.values(), *good)
    await rig.idle()
    letters = {letter.delivery: letter for letter in await rig.letters()}
    for do, reason in DEAD.items():
        assert await rig.states(bad[do]) == {"acts.act": "dead", "acts.sibling": "done"}, do
        assert letters[bad[do].id].reason.startswith(reason), do
    for delivery in (*good, *(bad[do] for do in DONE)):
        assert await rig.states(delivery) == {"acts.act": "done", "acts.sibling": "done"}
    assert sorted(journal(process, "sibling")) == sorted([*bad, *(f"good{number}" for number in range(20))])
    assert process.stop() == 0
    assert len(said(process, "worker running")) == 1


async def test_a_handler_that_cancels_every_task_is_a_failure_of_its_own(run: Run, rig: Rig) -> None:
    """The worker goes on, and what it cancelled of the others is run again."""
    bad = await rig.send("bad", do="cancel_all")
    good = [await rig.send(f"good{number}", do="nothing") for number in range(50)]
    process = run()
    await rig.closed(*good, bad)
    assert await rig.states(bad) == {"acts.act": "dead", "acts.sibling": "done"}
    assert sorted(journal(process, "sibling")) == sorted(["bad", *(f"good{number}" for number in range(50))])
    assert process.stop() == 0
    assert len(said(process, "worker running")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_still_stops_it(run: Run, rig: Rig, number: signal.Signals) -> None:
    """Exit code 0, although what handlers raised has left its event loop before."""
    process = run()
    await rig.closed(*[await rig.send(do, do=do) for do in ("orphan", "callback", "stop")])
    process.signal(number)
    assert await asyncio.to_thread(process.wait) == 0
    assert said(process, "worker stopped")


async def test_a_signal_that_comes_with_an_error_is_not_lost(run: Run, rig: Rig) -> None:
    """The event loop forgets signals when it is left: the worker does not."""
    process = run()
    await rig.send("e1", do="signal_and_raise")
    assert await asyncio.to_thread(process.wait) == 0


@pytest.mark.parametrize("do", ["swallow", "block_in_a_thread", "block"])
async def test_a_handler_that_does_not_end_does_not_keep_its_worker(run: Run, rig: Rig, do: str) -> None:
    """It is named and abandoned, with an exit code of its own; its lease hands the job on, other outcomes stand."""
    delivery = await rig.send("e1", do=do)
    process = run()
    await begun(process)
    asked = time.monotonic()
    process.signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait) == ABANDONED
    assert time.monotonic() - asked < 8
    [line] = said(process, "a handler did not end: it is abandoned")
    assert (line["handler"], line["delivery"]) == ("acts.act", delivery.id)
    assert (await rig.states(delivery)).get("acts.sibling") == (None if do == "block" else "done")
    again = run(HANDLERS="others:ROUTES")
    await rig.closed(delivery)
    assert await rig.states(delivery) == {"acts.act": "done", "acts.sibling": "done"}
    assert again.stop() == 0


async def test_a_thread_of_a_handlers_own_does_not_keep_its_worker(run: Run, rig: Rig) -> None:
    """Python would wait for it; it is named, too."""
    delivery = await rig.send("e1", do="own_thread")
    process = run()
    await rig.closed(delivery)
    process.signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait) == ABANDONED
    [line] = said(process, "the worker did not end: it is abandoned")
    assert "mine" in line["threads"]
