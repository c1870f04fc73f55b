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
from pydantic import SecretStr

from examples import sink
from examples.handlers.teams import TeamsSettings
from receiver import events
from receiver.environment import load
from receiver.idempotency import IdempotencyRule
from receiver.intake import accept_directly
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.queue.valkey import embedded
from tests.conftest import ROOT, Process, Start
from worker.dead_letters import Filter, Operator

pytestmark = pytest.mark.anyio
KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(("event-id",), events.EVENT_ID_PATHS, events.EVENT_TYPE_PATHS)
HOOK = "/workflows/0a1b/triggers/manual/paths/invoke?sig=SECRET"
ACCEPTED_US = 1_790_000_000_000_000
ROUTES = """
from examples.handlers import teams

async def look(event, ctx):
    waiting = [await ctx.redis.zcard(key) async for key in ctx.redis.scan_iter("*:waiting")]
    await ctx.redis.set("seen", sum(waiting))

ROUTES = {"action.created": [teams.notify], "work_order.deleted": [look]}
"""


class Site:
    """A channel, a Valkey that spares the disk, and workers that have only `teams.notify` and `look` to run."""

    def __init__(self, channel: sink.Teams, redis: ArqRedis, start: Callable[..., Process], url: str) -> None:
        self.channel, self.redis, self.start = channel, redis, start
        self.base = f"glartek:teams:{load(TeamsSettings, teams_webhook_url=SecretStr(url)).channel}:"
        self.turn = f"{self.base}turn"

    async def accept(self, number: int, event_type: str = "action.created") -> None:
        """The event was accepted `number` microseconds after the first."""
        subject = event_type.partition(".")[0]
        body = {"id": f"evt_{number}", "type": event_type, subject: {"title": f"Nr {number}"}}
        delivery = SOURCES.delivery({}, json.dumps(body).encode(), ACCEPTED_US + number)
        await accept_directly(self.redis, KEYS, delivery)

    def titles(self) -> list[int]:
        cards = [accepted["message"]["attachments"][0]["content"] for accepted in self.channel.accepted]
        return [int(card["fallbackText"].rpartition(" ")[2]) for card in cards]

    async def waits(self, cards: int) -> bool:
        return bool(await self.redis.zcard(f"{self.base}waiting") == cards)

    async def idle(self) -> bool:
        return not await self.redis.zcard(KEYS.queue) and not await self.redis.zcard(KEYS.leases)


@pytest.fixture
async def site(
    tmp_path: Path, clean_environment: Path, serve: Callable[[object], str], start: Start
) -> AsyncIterator[Site]:
    """A channel of 250 cards a second."""
    (clean_environment / "only_teams.py").write_text(ROUTES, encoding="utf-8")
    channel = sink.Teams(rate=250)
    hook = serve(sink.create_app(teams=channel)) + HOOK
    base = {
        "HANDLERS": "only_teams:ROUTES",
        "PYTHONPATH": f"{clean_environment}:{ROOT}",
        "TEAMS_WEBHOOK_URL": hook,
        "TEAMS_RATES": "250/1s,1000/100s",  # who waits comes back after 0.1 s for each one ahead
        "LEASE": "1s",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    with ExitStack() as running:
        url = running.enter_context(embedded(tmp_path / "valkey", "--appendfsync", "no"))
        redis = connect(url)
        yield Site(channel, redis, lambda **env: start("-m", "worker", **base | {"REDIS_URL": url} | env), hook)
        await redis.aclose()


async def _until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(120):
        while True:
            answer = condition()
            if await answer if hasattr(answer, "__await__") else answer:
                return
            await anyio.sleep(0.01)


async def test_a_burst_of_500_arrives_whole_in_order_and_within_the_rate(site: Site) -> None:
    """500 Actions, two workers of ten slots: each card once, in order, none turned away, and slots free for others."""
    for number in range(500):
        await site.accept(number)
    await site.redis.set(site.turn, "the test's")  # until all stand in line
    workers = [site.start(MAX_JOBS="10") for _ in range(2)]
    await _until(lambda: site.waits(500))
    await site.accept(500, "work_order.deleted")
    await _until(lambda: site.redis.get("seen"))
    assert await site.redis.get("seen") == b"500"  # cards that waited while another handler had its slot
    await site.redis.delete(site.turn)
    await _until(lambda: site.waits(0))
    assert site.titles() == list(range(500))
    assert site.channel.refused == []
    for worker in workers:
        assert "SECRET" not in worker.wait_for("delivery handled")


async def test_what_a_killed_worker_was_sending_is_sent_by_another(site: Site) -> None:
    """Kill -9 in the middle of a turn: it ends by itself, and every card arrives, in order."""
    site.channel.orders.delay = 1
    for number in range(3):
        await site.accept(number)
    killed = site.start(TEAMS_TIMEOUT="9s")
    await _until(lambda: site.redis.exists(site.turn))
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert 0 < await site.redis.pttl(site.turn) <= 11_000
    await site.redis.pexpire(site.turn, 100)
    site.channel.orders.delay = 0
    site.start()
    await _until(site.idle)
    assert list(dict.fromkeys(site.titles())) == [0, 1, 2]
    assert len(site.titles()) <= 4  # the channel may have taken the one whose answer nobody waited for


async def test_a_card_whose_turn_never_comes_is_a_dead_letter(site: Site) -> None:
    """MAX_AGE ends the wait, which was no failure; the signature is in no key, and a replay sends the card once."""
    site.channel.orders = sink.Orders(retry_after="60")
    site.channel.orders.answers.append(429)
    await site.accept(0)
    worker = site.start(MAX_AGE="30s")
    operator = Operator(site.redis, KEYS)
    await _until(operator.count)
    [letter] = [letter async for letter in operator.letters(Filter())]
    assert letter.reason == "it waited its turn; older than its budget of 30 s"
    story = await operator.story(letter.delivery)
    assert story is not None
    assert [failure["then"] for failure in story["handlers"]["teams.notify"]["failures"]] == ["dead"]
    assert "before this one" not in worker.output
    assert not [key async for key in site.redis.scan_iter() if b"SECRET" in (await site.redis.dump(key) or b"") + key]
    assert "SECRET" not in worker.output
    await site.redis.delete(f"{site.base}paused")
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
