"""What an operator does to dead letters stands in the real audit log, beside the events."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import Start, until
from tests.worker.conftest import KEYS, Rig, rig
from tests.worker.console.conftest import StartConsole, console
from tests.worker.console.test_access import PASSWORD, form_of

__all__ = ["console", "rig"]

HANDLERS = """\
from examples.handlers.audit_log import append
from worker import GiveUp

async def refuse(event, ctx):
    if event.type.startswith("operator."):
        open("leaked", "w").close()
    raise GiveUp("not today")

ROUTES = {"*": [append, refuse]}
"""


@pytest.fixture
def exported(start: Start, tmp_path: Path) -> Any:
    """The rows of the log, with an option."""

    def rows(*options: str) -> list[dict[str, Any]]:
        command = start("-m", "examples.handlers.audit_log", "export", *options, AUDIT_DATABASE_URL=url(tmp_path))
        assert command.wait() == 0, command.output
        return [json.loads(line) for line in command.output.splitlines()]

    return rows


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/audit.db"


async def test_who_did_what_and_why_is_in_the_log(rig: Rig, start: Start, exported: Any, tmp_path: Path) -> None:
    """One row before and one after, for the audit log alone: no other handler of every event gets it."""
    (tmp_path / "h.py").write_text(HANDLERS)
    worker = start("-m", "worker", REDIS_URL=rig.url, HANDLERS="h:ROUTES", AUDIT_DATABASE_URL=url(tmp_path))
    sent = [await rig.send(f"e{number}") for number in range(3)]
    await rig.closed(*sent)
    drop = start(
        *("-m", "worker", "dead", "drop", "--where", "handler=h.refuse", "--yes", "--why", "tests of Ana"),
        REDIS_URL=rig.url,
    )
    assert drop.wait() == 0, drop.output
    await rig.idle()
    [begun, ended] = exported("--type", "operator.drop")
    told = json.loads(ended["payload"])
    assert (told["reason"], told["which"], told["done"], told["chosen"]) == ("tests of Ana", "handler h.refuse", 3, 3)
    assert json.loads(begun["payload"])["state"] == "begun"
    assert begun["actor"] == told["actor"]["name"] != ""
    assert not (tmp_path / "leaked").exists()
    assert await rig.operator.count() == 0
    [row] = exported("--delivery", sent[0].id)
    assert row["event_id"] == "e0"
    worker.stop()


async def test_where_it_is_not_routed_nothing_is_told(rig: Rig, start: Start, tmp_path: Path) -> None:
    """Else every change would leave a dead letter."""
    (tmp_path / "h.py").write_text(HANDLERS.replace("[append, refuse]", "[refuse]"))
    worker = start("-m", "worker", REDIS_URL=rig.url, HANDLERS="h:ROUTES")
    await rig.closed(await rig.send("e1"))
    before = await rig.keys("*delivery:*")
    assert start("-m", "worker", "dead", "drop", "--all", REDIS_URL=rig.url).wait() == 0
    await rig.idle()
    assert (await rig.operator.count(), await rig.keys("*delivery:*")) == (0, before)
    worker.stop()


async def test_the_console_tells_whom_it_let_in(
    rig: Rig, start: Start, console: StartConsole, exported: Any, tmp_path: Path
) -> None:
    """By the name that came with the password."""
    (tmp_path / "h.py").write_text(HANDLERS)
    worker = start("-m", "worker", REDIS_URL=rig.url, HANDLERS="h:ROUTES", AUDIT_DATABASE_URL=url(tmp_path))
    sent = await rig.send("e1")
    await rig.closed(sent)
    base = console(CONSOLE_PASSWORD=PASSWORD)
    with httpx2.Client(base_url=base, auth=("ana", PASSWORD), headers={"origin": base}) as client:
        form = form_of(client, f"{sent.id}:h.refuse")
        assert client.post("/dead/run", data=form | {"why": "the ERP is up again"}).status_code == 303
        await until(lambda: _is_told(rig))
    await rig.idle()
    [begun, ended] = exported("--type", "operator.replay")
    assert (begun["actor"], json.loads(ended["payload"])["reason"]) == ("ana", "the ERP is up again")
    worker.stop()


async def _is_told(rig: Rig) -> bool:
    done = await rig.redis.execute_command("HGET", KEYS.counts, "audit_log.append done")
    return int(done or 0) == 3
