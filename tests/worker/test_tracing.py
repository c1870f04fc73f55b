"""Where a handler failed is told by log and `show`, and nothing of what it had in its hands."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Start, until
from tests.worker.conftest import Rig
from worker.tracing import place, trace

HANDLERS = """\
import asyncio
import json

from worker import GiveUp, RetryLater


async def act(event, ctx):
    secret = event.payload["secret"]
    match event.payload["do"]:
        case "library":
            json.loads(secret)
        case "late":
            await asyncio.sleep(60)
        case "give up":
            refuse(secret)
        case "wait":
            raise RetryLater(3600, "busy")


def refuse(secret):
    raise GiveUp("not today") from ValueError(secret)


ROUTES = {"*": [act]}
"""


def caught(act: Callable[[], object]) -> Exception:
    try:
        act()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def test_the_place_is_the_callers_line_and_no_librarys() -> None:
    """The deepest frame that is neither the kit's nor a library's, behind a group and a cause, too."""
    error = caught(lambda: json.loads("{secret-words"))
    assert place(error).startswith("tests/worker/test_tracing.py:")
    assert place(error).endswith(" in <lambda>")
    assert place(ExceptionGroup("several", [error])) == place(error)
    outer = RuntimeError("secret-words")
    outer.__cause__ = error
    assert place(outer) == place(error)
    assert place(RuntimeError("never raised")) == ""


def test_a_trace_has_lines_and_types_and_no_values() -> None:
    """What caused it first, its own lines last; bounded, however deep the stack or long the chain was."""

    def deeper(number: int) -> None:
        if number:
            deeper(number - 1)
        raise KeyError("secret-words")

    error = caught(lambda: deeper(200))
    error.__cause__ = error  # a circle, which Python allows
    text = trace(error)
    assert text.endswith("KeyError")
    assert "in deeper" in text
    assert "secret-words" not in text
    assert len(text) <= 8000
    chain: BaseException = ValueError("secret-words")
    for _ in range(50):
        following = ValueError("secret-words")
        following.__cause__ = chain
        chain = following
    assert trace(chain).count("ValueError") == 8


async def test_log_and_show_tell_where_a_handler_failed(start: Start, rig: Rig, tmp_path: Path) -> None:
    """File and line of the customer's, also when its time was up; the traceback at debug and with --trace."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    settings = {"REDIS_URL": rig.url, "HANDLERS": "acts:ROUTES", "MAX_TRIES": "1", "HANDLER_TIMEOUT": "0.3s"}
    worker = start("-m", "worker", LOG_LEVEL="debug", **settings)
    doing = {"library": 11, "late": 13, "give up": 21}
    deliveries = {do: await rig.send(do, do=do, secret="secret-words") for do in [*doing, "wait"]}
    await rig.closed(*(deliveries[do] for do in doing))

    async def waits() -> bool:
        return await rig.states(deliveries["wait"]) == {"acts.act": "retry"}

    await until(waits)
    worker.stop()
    said = [json.loads(line) for line in worker.output.splitlines()]
    for do, line in doing.items():
        at = f"acts.py:{line} in "
        [dead] = [one for one in said if one["event"] == "dead letter" and one["delivery"] == deliveries[do].id]
        assert dead["at"].startswith(at)
        [debug] = [one for one in said if one["event"] == "traceback" and one["delivery"] == deliveries[do].id]
        assert at in debug["trace"]
        told = (await rig.story(deliveries[do]))["handlers"]["acts.act"]
        assert told["failed_at"].startswith(at)
        assert at in told["trace"]
        assert "secret-words" not in json.dumps(told["trace"])
    assert "secret-words" not in worker.output
    waiting = (await rig.story(deliveries["wait"]))["handlers"]["acts.act"]
    assert (waiting["failed_at"], waiting["trace"]) == (None, None)
    short, long = (start("-m", "worker", "show", "late", *more, REDIS_URL=rig.url) for more in ((), ("--trace",)))
    for process in (short, long):
        assert await asyncio.to_thread(process.wait) == 0, process.output
    assert "acts.py:13 in act" in short.output
    assert "TimeoutError" in long.output.partition("failed at")[2]
    ttl = await rig.redis.pttl(f"glartek:trace:{deliveries['late'].id}")
    assert 0 < ttl <= 7 * 86400 * 1000


@pytest.mark.parametrize("depth", [1, 3])
def test_a_trace_keeps_the_innermost_lines(depth: int) -> None:
    """They say most."""

    def inner(number: int) -> None:
        if number == 0:
            raise ValueError
        inner(number - 1)

    assert trace(caught(lambda: inner(depth))).count("in inner") == depth + 1
