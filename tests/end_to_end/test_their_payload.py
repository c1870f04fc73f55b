"""A customer's own payload works whole by one file: dedupe, order, times, the card and the ERP's request."""

import json
import re
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from redis import Redis

from receiver.queue.keys import Keys
from tests.conftest import TOKEN, Start, wait_until
from tests.receiver.conftest import Receiver, listening
from tests.theirs import COMPLETED, CREATED, PAYLOAD_TOML

KEYS = Keys("theirs:")
HANDLERS = """
from pathlib import Path

from examples.handlers import external_system, teams
from worker import RetryLater, in_order


async def note(event, ctx):
    if event.id.endswith("1") and ctx.attempt < 3:
        raise RetryLater(0.1, "not yet")
    with Path("noted").open("a") as file:
        print(event.id[-1], event.occurred_at and event.occurred_at.isoformat(), file=file)


ROUTES = {
    "action.created": [teams.notify],
    "work_order.completed": [teams.notify, in_order(external_system.update), in_order(note)],
    "work_order.updated": [in_order(note)],
}
"""


class Kit:
    """A receiver and a worker that know this payload.toml, and the stand-ins they talk to."""

    def __init__(self, start: Start, url: str, folder: Path, toml: str) -> None:
        (folder / "payload.toml").write_text(toml, encoding="utf-8")
        (folder / "theirs.py").write_text(HANDLERS, encoding="utf-8")
        with Redis.from_url(url, decode_responses=True) as redis:
            redis.flushall()
            self.redis = redis
        common = {"REDIS_URL": url, "KEY_PREFIX": KEYS.prefix, "PAYLOAD_MAP": "payload.toml"}
        sink_url = re.search(r"http://\S+", start("-m", "examples.sink", "--port", "0").wait_for("sink on http"))
        assert sink_url
        self.sink, self.folder = sink_url[0], folder
        workflow = f"{self.sink}/workflows/demo/triggers/manual/paths/invoke?sig=demo"
        self.env = common | {"HANDLERS": "theirs:ROUTES", "TEAMS_WEBHOOK_URL": workflow, "EXTERNAL_URL": self.sink}
        self.env |= {
            "TEAMS_LANGUAGE": "en",
            "EXTERNAL_TARGET": "examples.handlers.external_system.targets.generic_rest",
        }
        self.worker = start("-m", "worker", **self.env)
        self.receiver: Receiver = listening(
            start("-m", "receiver", **common, WEBHOOK_TOKEN=TOKEN, PORT="0", SPOOL_PATH=str(folder / "spool.db"))
        )

    def post(self, *payloads: Any) -> None:
        for payload in payloads:
            assert self.receiver.post(json.dumps(payload).encode()).status == 200

    def counts(self) -> dict[str, str]:
        return cast("dict[str, str]", self.redis.hgetall(KEYS.counts))

    def until(self, **wanted: int) -> None:
        """Return when so many have been counted."""
        expected = {name: str(count) for name, count in wanted.items()}
        wait_until(
            lambda: expected.items() <= self.counts().items(), explain=lambda: f"{self.counts()} {self.worker.output}"
        )

    def recorded(self, system: str) -> Any:
        return httpx2.get(f"{self.sink}/recorded/{system}").json()

    def noted(self) -> list[list[str]]:
        return [line.split() for line in (self.folder / "noted").read_text().splitlines()]


@pytest.fixture
def kit(start: Start, valkey_url: str, tmp_path: Path) -> Kit:
    return Kit(start, valkey_url, tmp_path, PAYLOAD_TOML)


def test_both_bodies_are_handled_whole(kit: Kit) -> None:
    """Each sent twice and handled once: one card each, one request to the ERP, every field where it belongs."""
    kit.post(COMPLETED, CREATED, COMPLETED, CREATED)
    done = {"accepted": 2, "duplicates": 2, "teams.notify done": 2, "external_system.update done": 1}
    kit.until(**done, **{"theirs.note done": 1})
    cards = json.dumps([one["message"] for one in kit.recorded("teams")["accepted"]], ensure_ascii=False)
    for text in ("Pump 7 weekly", "ana@example", "{{DATE(2026-11-20T14:03:10Z", "Oil leak", "rui@example", "High"):
        assert text in cards, cards
    erp = kit.recorded("external")
    assert len(erp["requests"]) == 1
    assert erp["work_orders"] == {
        "991": {
            "status": "COMPLETED",
            "finished_at": "2026-11-20T14:03:10+00:00",
            "updated_at": "2026-11-20T14:03:11+00:00",
        }
    }


def test_the_events_of_a_work_order_are_handled_in_order(kit: Kit) -> None:
    """The receiver finds the subject that the worker finds: a later event waits while the first one is tried again."""
    later = COMPLETED | {"webhookType": "Work Order Updated", "eventGuid": "e2", "triggeredAt": "2026-07-20 14:03:12"}
    kit.post(COMPLETED, later)
    kit.until(**{"theirs.note done": 2})
    assert kit.noted() == [["1", "2026-11-20T14:03:11+00:00"], ["2", "2026-07-20T14:03:12+01:00"]]


BATCHES = PAYLOAD_TOML.replace("[event]", '[event]\nbatch = "events"')


def test_a_batch_is_handled_event_by_event(start: Start, valkey_url: str, tmp_path: Path) -> None:
    """Duplicates in it, the same events in another batch and one alone are done once; one too long is a dead letter."""
    kit = Kit(start, valkey_url, tmp_path, BATCHES)
    updated = [
        COMPLETED | {"webhookType": "Work Order Updated", "eventGuid": f"u{number}2", "data": {"workOrderId": number}}
        for number in range(3)
    ]
    kit.post({"sent": 1, "events": [updated[0], CREATED, updated[0]]})
    kit.post({"sent": 2, "events": [CREATED, *updated]}, updated[2])
    kit.until(**{"accepted": 4, "duplicates": 4, "theirs.note done": 3, "teams.notify done": 1})
    assert "conflicts" not in kit.counts()
    kit.post({"events": [{}] * 1001})
    kit.until(**{"accepted": 5, "parse dead": 1})
    listed = start("-m", "worker", "dead", "list", "--json", **kit.env)
    assert listed.wait() == 0
    assert "the body holds 1001 events; expected 1000 at most" in listed.output
