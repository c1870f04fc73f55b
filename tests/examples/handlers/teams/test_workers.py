"""The kit's own worker processes before one channel: whole, in order, within the rate, and no slot is kept waiting."""

import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from arq.connections import ArqRedis

from examples import sink
from receiver.acceptance import accept_directly
from receiver.idempotency import IdempotencyRule
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.queue.valkey import embedded
from tests.conftest import ROOT, Process, Start
from worker.dead_letters import Operator
from worker.letter import Filter

pytestmark = pytest.mark.anyio
KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(("event-id",))
HOOK = "/workflows/0a1b/triggers/manual/paths/invoke?sig=SECRET"
ACCEPTED_US = 1_790_000_000_000_000
LINE = KEYS.line("teams.notify")
ROUTES = """
from examples.handlers import teams
from worker import in_order

async def look(event, ctx):
    await ctx.redis.set("seen", await ctx.redis.zcard("glartek:turn:teams.notify"))

notify = in_order(teams.notify, by="handler", rate="100/1s")
ROUTES = {"action.created": [notify], "work_order.deleted": [look]}
"""


class Site:
    """A channel, a Valkey that spares the disk, and workers that have only `teams.notify` and `look` to run."""

    def __init__(self, channel: sink.Teams, redis: ArqRedis, start: Callable[..., Process]) -> None:
        self.channel, self.redis, self.start = channel, redis, start

    async def accept(self, number: int, event_type: str = "action.created") -> None:
        """The event was accepted `number` microseconds after the first."""
        subject = event_type.partition(".")[0]
        body = {"id": f"evt_{number}", "type": event_type, subject: {"id": f"s{number}", "title": f"Nr {number}"}}
        delivery = SOURCES.delivery({}, json.dumps(body).encode(), ACCEPTED_US + number)
        await accept_directly(self.redis, KEYS, delivery)

    def titles(self) -> list[int]:
        cards = [accepted["message"]["attachments"][0]["content"] for accepted in self.channel.accepted]
        return [int(card["fallbackText"].rpartition(" ")[2]) for card in cards]

    async def in_line(self) -> int:
        return int(await self.redis.zcard(LINE))

    async def idle(self) -> bool:
        return not await self.redis.zcard(KEYS.queue) and not await self.redis.zcard(KEYS.leases)


@pytest.fixture
async def site(
    tmp_path: Path, clean_environment: Path, serve: Callable[[object], str], start: Start
) -> AsyncIterator[Site]:
    """A channel that takes as many cards as its handler may send, and turns one more away."""
    (clean_environment / "only_teams.py").write_text(ROUTES, encoding="utf-8")
    channel = sink.Teams(rate=100)
    base = {
        "HANDLERS": "only_teams:ROUTES",
        "PYTHONPATH": f"{clean_environment}:{ROOT}",
        "TEAMS_WEBHOOK_URL": serve(sink.create_app(teams=channel)) + HOOK,
        "LEASE": "1s",
        "RETRY_BASE": "0.1s",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    with ExitStack() as running:
        url = running.enter_context(embedded(tmp_path / "valkey", "--appendfsync", "no"))
        redis = connect(url)
        yield Site(channel, redis, lambda **env: start("-m", "worker", **base | {"REDIS_URL": url} | env))
        await redis.aclose()


async def _until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(120):
        while True:
            answer = condition()
            if await answer if hasattr(answer, "__await__") else answer:
                return
            await anyio.sleep(0.01)


async def test_a_burst_of_500_arrives_whole_in_order_and_within_the_rate(site: Site) -> None:
    """500 Actions, three workers of ten slots, two of them killed and one started anew: each card, in order, none
    turned away, and slots free for others meanwhile.
    """
    for number in range(500):
        await site.accept(number)
    workers = [site.start(MAX_JOBS="10") for _ in range(3)]
    await _until(lambda: len(site.channel.accepted) > 100)
    await site.accept(500, "work_order.deleted")
    await _until(lambda: site.redis.get("seen"))
    assert int(await site.redis.get("seen") or 0) > 200  # in line while another handler had its slot
    for killed in workers[:2]:
        sent = len(site.channel.accepted)
        killed.signal(signal.SIGKILL)
        killed.wait()
        await _until(lambda sent=sent: len(site.channel.accepted) > sent + 50)  # type: ignore[misc]
    workers.append(site.start(MAX_JOBS="10"))
    await _until(site.idle)
    assert list(dict.fromkeys(site.titles())) == list(range(500))
    assert len(site.titles()) <= 502  # the channel may have taken what a killed worker had just sent
    assert site.channel.refused == []
    assert await site.in_line() == 0
    assert "SECRET" not in "".join(worker.output for worker in workers)


async def test_what_a_killed_worker_was_sending_is_sent_by_another(site: Site) -> None:
    """Kill -9 in the middle of a request: its lease brings the card back as the first, and all arrive in order."""
    site.channel.orders.delay = 1
    for number in range(3):
        await site.accept(number)
    killed = site.start()
    await _until(lambda: site.redis.exists(KEYS.pace("teams.notify")))
    killed.signal(signal.SIGKILL)
    killed.wait()
    site.channel.orders.delay = 0
    site.start()
    await _until(site.idle)
    assert list(dict.fromkeys(site.titles())) == [0, 1, 2]
    assert len(site.titles()) <= 4  # the channel may have taken the one whose answer nobody waited for


async def test_what_the_channel_turns_away_is_sent_again_in_order(site: Site) -> None:
    """429 and 503 on the way change neither the order nor the number."""
    site.channel.orders.answers.extend([429, 503, 503])
    for number in range(10):
        await site.accept(number)
    site.start()
    await _until(site.idle)
    assert site.titles() == list(range(10))


async def test_a_card_that_is_refused_or_fails_does_not_hold_up_the_others(site: Site) -> None:
    """The refused one is a dead letter at once; after three failures of another the rest pass."""
    site.channel.orders.answers.extend([413, 503, 503, 503])
    for number in range(5):
        await site.accept(number)
    site.start(RETRY_BASE="1s")
    await _until(site.idle)
    assert sorted(site.titles()) == [1, 2, 3, 4]
    assert site.titles()[0] == 2
    [letter] = [letter async for letter in Operator(site.redis, KEYS).letters(Filter())]
    assert letter.reason == "the Teams workflow refused the card with 413"


async def test_a_card_that_the_channel_never_takes_is_a_dead_letter(site: Site) -> None:
    """MAX_AGE ends the wait; the reason says why, the signature is in no key, and a replay sends the card once."""
    site.channel.orders = sink.Orders(retry_after="60")
    site.channel.orders.answers.append(429)
    await site.accept(0)
    worker = site.start(MAX_AGE="30s")
    operator = Operator(site.redis, KEYS)
    await _until(operator.count)
    [letter] = [letter async for letter in operator.letters(Filter())]
    assert letter.reason == "the Teams workflow answered 429; older than its budget of 30 s"
    assert "before this one" not in worker.output
    assert not [key async for key in site.redis.scan_iter() if b"SECRET" in (await site.redis.dump(key) or b"") + key]
    assert "SECRET" not in worker.output
    await operator.replay_letter(letter)
    await _until(site.titles)
    await _until(site.idle)
    assert site.titles() == [0]
    assert await operator.count() == 0


def test_a_retired_url_stops_the_worker_with_one_line(clean_environment: Path, start: Start) -> None:
    """Exit code 2, the variable's name, what replaced it, and nothing of the URL."""
    (clean_environment / "only_teams.py").write_text(ROUTES, encoding="utf-8")
    worker = start(
        *("-m", "worker"),
        HANDLERS="only_teams:ROUTES",
        PYTHONPATH=f"{clean_environment}:{ROOT}",
        REDIS_URL="redis://127.0.0.1:1",
        TEAMS_WEBHOOK_URL="https://contoso.webhook.office.com/webhookb2/SECRET",
    )
    assert worker.wait() == 2
    assert worker.output == (
        "TEAMS_WEBHOOK_URL: is an Office 365 connector, which Microsoft retired in May 2026; "
        "make the workflow 'Send webhook alerts to a channel' in Teams and use its URL\n"
    )
