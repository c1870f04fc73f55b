"""The command: it starts with one line, ends in time, says in one line what is wrong, and keeps what is secret."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import GRANTED, Process, Server, Start, until
from tests.terminal import Terminal
from tests.worker.conftest import KEYS, Rig, make_handler
from worker import GiveUp

HANDLERS = """
from worker import GiveUp, RetryLater

async def act(event, ctx):
    ctx.log.info("acting", size=len(event.raw))
    if event.payload.get("fails"):
        raise OSError(f"https://user:secret-words@host/{'x' * 40}?sig=secret-words refused")
    if event.payload.get("gives_up"):
        raise GiveUp("not today")

def plain(event, ctx): pass

ROUTES = {"*": [act]}
NO_SUCH_TYPE = {"work_order.complete": [act]}
NO_COROUTINE = {"*": [plain]}
NAMED_TWICE = {"action.created": [act], "*": [act, act]}
NO_HANDLER = {"*": []}
NO_ROUTE = {}
"""


@pytest.fixture
def run(start: Start, rig: Rig, tmp_path: Path) -> Callable[..., Process]:
    """Start `python -m worker …`; settings as keyword arguments."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")

    def run_one(*arguments: str, **settings: str) -> Process:
        return start("-m", "worker", *arguments, **{"REDIS_URL": rig.url, "HANDLERS": "acts:ROUTES"} | settings)

    return run_one


Run = Callable[..., Process]


def lines(process: Process, code: int = 2) -> list[str]:
    """What a command that was stopped by a mistake said."""
    assert process.wait() == code, process.output
    assert "Traceback" not in process.output, process.output
    return process.output.splitlines()


async def test_every_mistake_is_a_line_and_exit_code_2(run: Run) -> None:
    """Settings, the module, its types and its handlers: what was expected and what to do, no traceback, no secret."""
    settings = run(REDIS_URL="http://:s3cret@x", MAX_JOBS="0", LEASE="soon")
    module, no_type = run(HANDLERS="no_such_module:ROUTES"), run(HANDLERS="acts:NO_SUCH_TYPE")
    no_coroutine, twice = run(HANDLERS="acts:NO_COROUTINE"), run(HANDLERS="acts:NAMED_TWICE")
    said = await asyncio.to_thread(lines, settings)
    assert sorted(line.partition(":")[0] for line in said) == ["LEASE", "MAX_JOBS", "REDIS_URL"]
    assert "s3cret" not in settings.output
    for process, words in (
        (module, "no module 'no_such_module'"),
        (no_type, "no event type 'work_order.complete'; did you mean work_order.completed"),
        (no_coroutine, "'*' has 'plain', which is not a coroutine function; write it as: async def"),
        (twice, "'*' has acts.act twice, which runs once for an event; take one away"),
    ):
        [line] = await asyncio.to_thread(lines, process)
        assert line.startswith("HANDLERS: ")
        assert words in line


async def end_in_time(process: Process, number: signal.Signals) -> None:
    process.signal(number)
    assert await asyncio.to_thread(process.wait, GRANTED) == 0, process.output
    assert json.loads(process.output.splitlines()[-1])["event"] == "worker stopped"
    assert "Traceback" not in process.output


async def test_a_table_without_a_handler_is_told(run: Run, rig: Rig) -> None:
    """Once, at the start; it goes on, for whoever only wants to see what arrives: an event is stored, and ends."""
    for table in ("NO_ROUTE", "NO_HANDLER"):
        process = run(HANDLERS=f"acts:{table}")
        await rig.closed(await rig.send(table))
        assert process.stop() == 0
        told = "HANDLERS has no handler: events are stored, and nothing is done with them"
        assert [line["level"] for line in map(json.loads, process.output.splitlines()) if line["event"] == told] == [
            "warning"
        ]


async def test_it_ends_when_asked(run: Run, rig: Rig) -> None:
    """In time at SIGTERM or SIGINT, with exit code 0; its keys are gone, so that nobody thinks that it runs."""
    processes = run(), run()
    for process, number in zip(processes, (signal.SIGTERM, signal.SIGINT), strict=True):
        await asyncio.to_thread(process.wait_for, "worker running")
        await until(lambda pid=process.pid: rig.keys(f"{KEYS.prefix}worker:*:{pid}"))  # type: ignore[misc]
        await end_in_time(process, number)
    assert await rig.keys("arq:*") == []
    assert await rig.keys(f"{KEYS.prefix}worker:*") == []


async def test_it_starts_and_ends_without_redis(run: Run, server: Server) -> None:
    """It waits for a Redis that is away, and says so; whether it is away or frozen, it ends in time all the same."""
    away, frozen = run(REDIS_URL="redis://127.0.0.1:1"), run(REDIS_URL=server.url)
    await asyncio.to_thread(frozen.wait_for, "worker running")
    server.freeze()
    await asyncio.to_thread(away.wait_for, "redis is away: waiting")
    await asyncio.sleep(1)  # several tries to claim
    assert away.output.count("redis is away") == 1
    for process in (away, frozen):
        await end_in_time(process, signal.SIGTERM)


async def test_it_ends_when_asked_while_it_starts(run: Run) -> None:
    """SIGTERM while it asks a Redis that does not answer what it may do there."""
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            asked.set()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    starting = run(REDIS_URL=f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0")
    async with asyncio.timeout(10):
        await asked.wait()
    await end_in_time(starting, signal.SIGTERM)
    silent.close()


async def test_the_log_has_a_line_for_each_run_and_nothing_secret(run: Run, rig: Rig) -> None:
    """JSON, even of what went wrong; no payload, no password, no signature in a URL."""
    await rig.redis.set("arq:job:foreign", b"\xc1secret-words")
    await rig.redis.zadd(KEYS.queue, {"foreign": 1})
    deliveries = [
        await rig.send("e1", note="payload-words"),
        await rig.send("e2", note="payload-words", fails=True),
        await rig.send("e3", note="payload-words", gives_up=True),
    ]
    process = run(LOG_LEVEL="debug", RETRY_BASE="0.01s", MAX_TRIES="2")
    await rig.closed(*deliveries)
    await rig.idle()
    assert process.stop() == 0
    said = [json.loads(line) for line in process.output.splitlines()]
    runs = [line for line in said if "outcome" in line]
    assert sorted((one["event_id"], one["attempt"], one["outcome"], one["event"]) for one in runs) == [
        ("e1", 1, "done", "handled"),
        ("e2", 1, "retry", "handler will be run again"),
        ("e2", 2, "dead", "dead letter"),
        ("e3", 1, "dead", "dead letter"),
    ]
    of_event = {f"e{number}": delivery.id for number, delivery in enumerate(deliveries, 1)}
    for line in [*runs, *(line for line in said if line["event"] == "acting")]:  # the handler's own has it all, too
        assert (line["delivery"], line["handler"]) == (of_event[line["event_id"]], "acts.act")
        assert (line["type"], line["subject"]) == ("action.created", "")
    assert {line["process"] for line in said} == {"worker"}
    assert {"acting", "dead letter", "job buried"} <= {line["event"] for line in said}
    for secret in ("payload-words", "secret-words", "sig="):
        assert secret not in process.output


async def test_commands_are_pretty_on_a_terminal_and_plain_in_a_pipe(run: Run, rig: Rig) -> None:
    """`show` and `dead list` draw and colour only where someone looks; --json is the same everywhere."""
    delivery = await rig.send("e1", title="[red]")
    async with rig.working({"*": [make_handler("act", _give_up), make_handler("fine")]}):
        await rig.closed(delivery)
    terminals = [Terminal("worker", *command, REDIS_URL=rig.url) for command in (("show", "e1"), ("dead", "list"))]
    pipes = [run("show", "e1"), run("show", "e1", "--json")]
    for terminal in terminals:
        said = await asyncio.to_thread(terminal.end)
        assert "\x1b[" in said
        assert "not today" in said
    plain, as_json = ["\n".join(await asyncio.to_thread(lines, pipe, 0)) for pipe in pipes]
    assert "\x1b[" not in plain + as_json
    assert "not today" in plain
    assert json.loads(as_json)["handlers"]["h.act"]["state"] == "dead"


async def test_a_bulk_replay_asks_and_shows_how_far_it_is_on_a_terminal(rig: Rig) -> None:
    """Two questions before, a bar while it goes on, one line at the end."""
    deliveries = [await rig.send(f"e{number}") for number in range(3)]
    async with rig.working({"*": [make_handler("act", _give_up)]}):
        await rig.closed(*deliveries)
    terminal = Terminal("worker", "dead", "replay", "--all", REDIS_URL=rig.url)
    await asyncio.to_thread(terminal.type_at, "replay 3 dead letters? [y/N]: ", "y\n")
    await asyncio.to_thread(terminal.type_at, "why: ", "it is up again\n")
    said = await asyncio.to_thread(terminal.end)
    assert "100%" in said
    assert said.rstrip().endswith("replayed 3 of 3")
    assert await rig.letters() == []


def _give_up(_: int) -> None:
    raise GiveUp("not today")
