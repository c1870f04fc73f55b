"""`make demo`: runs the whole kit once and checks the result.

Starts the kit, sends every type of event, one of an unknown type and one body that is not JSON, then all of them
again. Waits until the work is done, shows what happened to each event, and compares that with what arrived at the
stand-ins and in the audit log. Exit code 0 only if everything agrees. Leaves no process and no file behind.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from examples.handlers import ROUTES
from examples.sender.http.delivery import client, deliver
from examples.sender.http.message import Message
from examples.sender.play.payloads import Story
from receiver import events
from receiver.environment import SettingsError
from receiver.idempotency import IdempotencyRule
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.queue.valkey import ServerError
from receiver.settings import ReceiverSettings
from receiver.visible import to_json
from worker.dead_letters import Operator
from worker.everything import everything
from worker.handler import name_of
from worker.processes import Running
from worker.routes import RouteTable
from worker.story import story_of
from worker.transitions import PARSE

UNKNOWN_TYPE = "work_order.reopened"
NOT_JSON = b"Work Order Created; this body is not JSON"
TABLE = RouteTable(ROUTES)
HANDLERS = list(TABLE.by_name)


@dataclass
class Row:
    """One event: what was sent, the answers, and its story from Redis."""

    label: str
    message: Message
    delivery: str
    answers: list[int | None] = field(default_factory=list)
    posted: float = 0.0
    story: dict[str, Any] = field(default_factory=dict)

    @property
    def expected(self) -> set[str]:
        """The handlers that should have run, according to the table in examples/handlers."""
        return {PARSE} if self.message.body == NOT_JSON else {name_of(h) for h in TABLE.handlers(self.message.type)}

    @property
    def outcomes(self) -> dict[str, str]:
        return {name: told["state"] for name, told in self.story.get("handlers", {}).items()}

    @property
    def is_over(self) -> bool:
        return bool(self.story) and not self.story["open"] and self.expected <= set(self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        return {
            "event": self.label,
            "delivery": self.delivery,
            "answers": self.answers,
            "handlers": self.outcomes,
            "duplicates": self.story.get("duplicates"),
            "ms": round(self.milliseconds),
        }

    @property
    def milliseconds(self) -> float:
        """From the POST until the last handler was done."""
        times = [datetime.fromisoformat(told["at"]).timestamp() for told in self.story["handlers"].values()]
        return (max(times) - self.posted) * 1000 if times else 0.0


def rows(rng: Random) -> list[Row]:
    """Every type once, an unknown one, and a body that is not JSON."""
    story, now = Story(rng), datetime.now(UTC)
    messages = [(event_type.name, Message.of(story.event(event_type.name, now))) for event_type in events.CATALOG]
    unknown = story.event("work_order.updated", now) | {"type": UNKNOWN_TYPE}
    messages += [(f"{UNKNOWN_TYPE} (unknown)", Message.of(unknown)), ("(not JSON)", Message.raw(NOT_JSON))]
    fields = ReceiverSettings.model_fields
    rule = IdempotencyRule(fields["idempotency_sources"].default)
    return [Row(label, message, rule.delivery({}, message.body, 0).id) for label, message in messages]


async def send(running: Running, table: list[Row], progress: Progress) -> None:
    """POST all messages, then all again, as duplicates."""
    task = progress.add_task("sending", total=2 * len(table))
    async with client() as http:
        for again in (False, True):
            for row in table:
                row.posted = row.posted if again else time.time()
                attempt = await deliver(http, running.url, row.message)
                row.answers.append(attempt.status)
                progress.advance(task)


async def wait_until_over(running: Running, table: list[Row], progress: Progress) -> None:
    """Read the stories until every handler of every event has its outcome, at most 15 s."""
    task = progress.add_task("handling", total=len(table))
    redis = connect(running.redis_url)
    operator = Operator(redis, Keys(running.environment.get("KEY_PREFIX", "glartek:")))
    deadline = time.monotonic() + 15
    while not all(row.is_over for row in table) and time.monotonic() < deadline:
        for row in table:
            row.story = await story_of(operator, row.delivery) or {}
        progress.update(task, completed=sum(row.is_over for row in table))
        await asyncio.sleep(0.05)
    await redis.aclose()


def arrivals(running: Running) -> dict[str, Any]:
    """What arrived: cards and updates at the stand-ins, rows in the audit log."""
    with httpx2.Client(base_url=running.sink or "", trust_env=False) as http:
        teams, external = http.get("/recorded/teams").json(), http.get("/recorded/external").json()
    has_audit = "audit_log.append" in HANDLERS
    audit = [json.loads(line) for line in _audit(running, "export").splitlines()] if has_audit else []
    return {
        "cards": [json.dumps(card["message"], ensure_ascii=False) for card in teams["accepted"]],
        "updates": [update for update in external["requests"] if update["applied"]],
        "audit": [row["event_id"] for row in audit],
        "audit_intact": not has_audit or json.loads(_audit(running, "verify", "--json"))["intact"],
    }


def _audit(running: Running, *arguments: str) -> str:
    environment = {**os.environ, **running.environment}
    command = [sys.executable, "-m", "examples.handlers.audit_log", *arguments]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True).stdout


def problems(table: list[Row], arrived: Mapping[str, Any]) -> list[str]:
    """A line for each expectation that does not hold."""
    wrong = [problem for row in table for problem in _problems_of(row, arrived)]
    audited = sum("audit_log.append" in row.expected for row in table)
    if len(arrived["audit"]) != audited:
        wrong.append(f"the audit log has {len(arrived['audit'])} rows, expected {audited}")
    if not arrived["audit_intact"]:
        wrong.append("the audit log's hash chain does not verify")
    cards = sum("teams.notify" in row.expected for row in table)
    if len(arrived["cards"]) != cards:
        wrong.append(f"{len(arrived['cards'])} cards reached Teams, expected {cards}")
    return wrong


def _problems_of(row: Row, arrived: Mapping[str, Any]) -> list[str]:
    state = "dead" if PARSE in row.expected else "done"
    subject = str(events.at_path(_payload(row), "work_order.id"))
    expectations = {
        "was answered 200 twice": row.answers == [200, 200],
        "was stored once, its duplicate dropped": row.story.get("duplicates") == 1,
        f"is {state} for {', '.join(sorted(row.expected))} alone": row.outcomes == dict.fromkeys(row.expected, state),
        "is in the audit log once": arrived["audit"].count(row.message.id) == ("audit_log.append" in row.expected),
        "updated the external system once": sum(u["work_order"] == subject for u in arrived["updates"]) == 1
        or "external_system.update" not in row.expected,
        "made one card": "teams.notify" not in row.expected
        or sum(str(events.at_path(_payload(row), "action.title")) in card for card in arrived["cards"]) == 1,
    }
    return [f"{row.label}: expected that it {what}" for what, held in expectations.items() if not held]


def _payload(row: Row) -> Any:
    return {} if row.message.body == NOT_JSON else json.loads(row.message.body)


def report(table: list[Row], wrong: list[str], seconds: float, *, as_json: bool) -> None:
    """Print one line for each event, then the problems."""
    if as_json:
        lines = [row.as_dict() for row in table]
        typer.echo(to_json({"events": lines, "problems": wrong, "seconds": round(seconds, 1)}))
        return
    shown = Table("event", "first", "again", *HANDLERS, "POST to done", box=None, header_style="bold")
    for row in table:
        again = "duplicate" if row.story.get("duplicates") == 1 else "?"
        cells = ["unreadable" if PARSE in row.outcomes else row.outcomes.get(name, "·") for name in HANDLERS]
        shown.add_row(
            row.label,
            "accepted" if row.answers[:1] == [200] else "refused",
            again,
            *cells,
            f"{row.milliseconds:.0f} ms",
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(shown)
    for line in wrong:
        console.print(f"NOT HELD  {line}", style="red", markup=False)
    if not wrong:
        console.print(f"All of it held: {len(table)} events, each stored once and handled once, in {seconds:.1f} s.")


async def _send_and_wait(running: Running, table: list[Row]) -> None:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        await send(running, table, progress)
        await wait_until_over(running, table, progress)


def main(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:  # noqa: FBT002 - an option
    """Run everything once and check it."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="glartek-demo-") as folder:
        log = Path(folder) / "kit.log"
        # the demo checks its own handlers and port, not those in this machine's .env
        settings = {
            "PORT": str(_free_port()),
            "HANDLERS": "examples.handlers:ROUTES",
            "LOG_FORMAT": "json",
            "ENV_FILE": "",
        }
        try:
            with (
                log.open("wb") as output,
                everything(Path(folder), settings, output, ("receiver", "worker")) as running,
            ):
                table = rows(Random())  # noqa: S311 - sample ids
                asyncio.run(_send_and_wait(running, table))
                wrong = problems(table, arrivals(running))
        except (SettingsError, ServerError) as error:
            typer.echo(f"{error}\n{log.read_text(encoding='utf-8')}", err=True)
            raise typer.Exit(2) from None
        report(table, wrong, time.monotonic() - started, as_json=as_json)
        if wrong:
            typer.echo(f"\nThe processes' log:\n{log.read_text(encoding='utf-8')}", err=True)
            raise typer.Exit(1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    typer.run(main)
