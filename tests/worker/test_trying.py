"""`python -m worker try`: what a handler would have done to kept events, and that it did none of it."""

import asyncio
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Process, Start
from tests.worker.conftest import Rig, make_handler
from worker import GiveUp, trying

HANDLERS = """\
import asyncio
import os
import socket
import sqlite3
import subprocess

from worker import RetryLater, Skip


async def act(event, ctx):
    await ctx.redis.set(f"{ctx.prefix}tried", "yes")
    if event.type == "action.solved":
        raise Skip("solved")
    key = {"Idempotency-Key": ctx.idempotency_key, "Authorization": "Bearer secret-words"}
    answer = await ctx.http.post(
        "https://pager.example.com/call?sig=secret-words", json={"id": event.id}, headers=key
    )
    if answer.status_code == 429:
        raise RetryLater(60, "busy")


async def past(event, ctx):
    match event.id:
        case "e0":
            socket.create_connection(("127.0.0.1", int(os.environ["ELSEWHERE"])))
        case "e1":
            await asyncio.open_connection("127.0.0.1", int(os.environ["ELSEWHERE"]))
        case "e2":
            sqlite3.connect("written.db")
        case "e3":
            await asyncio.to_thread(subprocess.run, ["touch", "written"])
        case "e4":
            os.system("touch written")
        case "e5":
            import psycopg


ROUTES = {"*": [act]}
"""
Run = Callable[..., Process]


@pytest.fixture
async def run(start: Start, rig: Rig, tmp_path: Path) -> Run:
    """Start `python -m worker try …` where six events are kept, one of them dead."""
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")
    types = ["action.created", "action.solved", *["action.created"] * 4]

    def give_up(_: int) -> None:
        raise GiveUp("not today")

    sent = [await rig.send(f"e{number}", one) for number, one in enumerate(types[:5])]
    async with rig.working({"*": [make_handler("fine")]}):
        await rig.closed(*sent)
    dead = await rig.send("e5", types[5])
    async with rig.working({"*": [make_handler("dead", give_up)]}):
        await rig.closed(dead)
    settings = {"REDIS_URL": rig.url, "HANDLERS": "acts:ROUTES"}
    return lambda *arguments, **more: start("-m", "worker", "try", *arguments, **settings | more)


async def test_it_shows_what_would_have_been_done(run: Run, rig: Rig) -> None:
    """Every kept event in order of acceptance, its requests without secrets; nothing is sent and Redis is as it was."""
    before = await rig.keys()
    told = run("acts:act", "--json")
    assert await asyncio.to_thread(told.wait) == 0, told.output
    tried = json.loads(told.output)
    assert [one["key"] for one in tried] == ["e0", "e1", "e2", "e3", "e4", "e5"]
    assert [one["state"] for one in tried] == ["done", "skipped", *["done"] * 4]
    [request] = tried[0]["requests"]
    assert request["headers"].pop("idempotency-key") == f"acts.act:{tried[0]['delivery']}"
    assert request == {
        "method": "POST",
        "url": "https://pager.example.com/call?…",
        "headers": {"content-type": "application/json"},
        "body": {"id": "e0"},
    }
    assert "secret-words" not in told.output
    assert await rig.keys() == before


async def test_how_many_which_type_and_which_answer_can_be_said(run: Run) -> None:
    """The newest ones; the handler by its name in HANDLERS; exit code 1 when it would have failed."""
    told = run("acts.act", "--last", "2", "--type", "action.created", "--status", "429")
    assert await asyncio.to_thread(told.wait) == 1, told.output
    assert told.output.count("action.created: retry  busy") == 2
    assert "nothing was sent; 2 events: 2 retry" in told.output
    none = run("acts:act", "--type", "work_order.created")
    assert await asyncio.to_thread(none.wait) == 1
    assert "no event is kept" in none.output


@pytest.mark.usefixtures("run")
async def test_a_report_that_cannot_be_written_is_told(rig: Rig, tmp_path: Path) -> None:
    """It is no log, of which lines may be dropped: on a full disk a line says so, with exit code 1."""
    full = os.open("/dev/full", os.O_WRONLY)
    tried = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "try", "acts:act"),
        stdout=full,
        stderr=subprocess.PIPE,
        env=os.environ | {"REDIS_URL": rig.url, "PYTHONPATH": str(tmp_path)},
    )
    os.close(full)
    told = (await tried.communicate())[1]
    assert (tried.returncode, told) == (1, b"cannot write: No space left on device\n")


@pytest.fixture
def elsewhere() -> Iterator[tuple[int, list[object]]]:
    """A port that must not be reached, and who did."""
    reached: list[object] = []

    class Reached(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            reached.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Reached) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], reached
        server.shutdown()


async def test_what_goes_past_the_context_is_refused(
    run: Run, elsewhere: tuple[int, list[object]], tmp_path: Path
) -> None:
    """Connections, databases and processes: named with the handler's line, and not done."""
    port, reached = elsewhere
    told = run("acts:past", "--json", ELSEWHERE=str(port))
    assert await asyncio.to_thread(told.wait) == 1
    tried = json.loads(told.output)
    assert [one["state"] for one in tried] == ["retry"] * 6
    assert all("RefusedError: it wants " in one["reason"] for one in tried)
    assert tried[0]["at"] == "acts.py:25 in past"
    assert reached == []
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("written*")))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("acts:none", "HANDLER: no handler 'acts:none'; expected module:name"),
        ("acts.none", "HANDLER: no handler 'acts.none'"),
        ("nowhere:act", "HANDLER: no module 'nowhere' here; expected module:name"),
        ("acts:", "HANDLER: expected module:name"),
        ("acts:os", "which is not a coroutine function"),
    ],
)
async def test_a_wrong_handler_is_one_line(run: Run, spec: str, line: str) -> None:
    """Exit code 2 and no traceback."""
    told = run(spec)
    assert await asyncio.to_thread(told.wait) == 2
    assert line in told.output
    assert len(told.output.splitlines()) == 1


def test_what_a_handler_prints_is_no_part_of_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    """The report's reader takes JSON."""
    with trying.alone():
        sys.stdout.write("here\n")
    assert capsys.readouterr() == ("", "here\n")
