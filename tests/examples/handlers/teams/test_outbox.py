"""Many events, many workers, one channel: whole, in order, within the rate, and nobody sleeps."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from examples import sink
from examples.handlers import teams
from examples.handlers.teams import outbox
from worker import Context, Event, GiveUp, RetryLater

pytestmark = pytest.mark.anyio
HOOK = "/workflows/0a1b/triggers/manual/paths/invoke?sig=x"


@pytest.fixture
def channel(serve: Callable[[object], str], clean_environment: object, monkeypatch: pytest.MonkeyPatch) -> sink.Teams:
    """A channel that takes twenty cards in a tenth of a second, and the handler configured for it."""
    assert clean_environment
    channel = sink.Teams(rate=20, per_seconds=0.1)
    monkeypatch.setenv("TEAMS_WEBHOOK_URL", serve(sink.create_app(teams=channel)) + HOOK)
    monkeypatch.setenv("TEAMS_RATES", "20/100ms")
    teams.configure()
    return channel


class Workers:
    """Ten slots that run what is due, as the kit's workers do: `RetryLater` gives the slot back."""

    def __init__(self) -> None:
        self.longest_run = 0.0
        self.runs = 0
        self._due: list[tuple[float, int, Event, Context]] = []
        self._open = 0

    async def handle(self, work: list[tuple[Event, Context]]) -> None:
        now = time.monotonic()
        self._due = [(now, number, event, ctx) for number, (event, ctx) in enumerate(work)]
        self._open = len(self._due)
        async with asyncio.timeout(60):
            await asyncio.gather(*(self._slot() for _ in range(10)))

    async def _slot(self) -> None:
        while self._open:
            if not self._due or self._due[0][0] > time.monotonic():
                await asyncio.sleep(0.005)
                continue
            _, number, event, ctx = heapq.heappop(self._due)
            began = time.monotonic()
            self.runs += 1
            try:
                await teams.notify(event, ctx)
            except RetryLater as later:
                heapq.heappush(self._due, (time.monotonic() + later.seconds, number, event, ctx))
            else:
                self._open -= 1
            self.longest_run = max(self.longest_run, time.monotonic() - began)


def _titles(channel: sink.Teams) -> list[str]:
    cards = [accepted["message"]["attachments"][0]["content"] for accepted in channel.accepted]
    return [card["fallbackText"].rpartition(" ")[2] for card in cards]


def _burst(sample: Callable[..., Event], context: Callable[..., Context], size: int) -> list[tuple[Event, Context]]:
    """Actions accepted a millisecond apart."""
    received = context().received_at
    return [
        (
            sample(title=f"Nr {number}", description="x", attachments=[]),
            context(key=f"k{number}", received_at=received + timedelta(milliseconds=number)),
        )
        for number in range(size)
    ]


def _shuffled_in_tens(work: list[tuple[Event, Context]]) -> list[tuple[Event, Context]]:
    """What slots side by side make of an order: each ten of them in reverse."""
    return [item for start in range(0, len(work), 10) for item in reversed(work[start : start + 10])]


async def test_a_burst_of_500_arrives_whole_in_order_and_within_the_rate(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """500 Actions at once: every card once, in order of acceptance, not one refused, no slot held for long."""
    workers = Workers()
    began = time.monotonic()
    await workers.handle(_shuffled_in_tens(_burst(sample, context, 500)))
    assert _titles(channel) == [str(number) for number in range(500)]
    assert channel.refused == []
    assert time.monotonic() - began > 24 * 0.1  # the limit was the limit
    assert workers.longest_run < 3  # a run that found much to send sends it; none waits


async def test_what_the_channel_turns_away_is_sent_again_in_order(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """429 and 503 on the way change neither the order nor the number."""
    channel.orders = sink.Orders(answers=deque([429, 503, 429]), retry_after="0")
    await Workers().handle(_shuffled_in_tens(_burst(sample, context, 40)))
    assert _titles(channel) == [str(number) for number in range(40)]


async def test_a_card_that_the_channel_refuses_does_not_hold_up_the_others(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """Its own handler gives up, with the channel's status; the rest goes on in order."""
    work = _burst(sample, context, 5)
    channel.orders.answers.append(413)
    with pytest.raises(GiveUp, match="refused the card with 413"):
        await _until_done(*work[0])
    await Workers().handle(work[1:])
    assert _titles(channel) == ["1", "2", "3", "4"]


async def test_a_turn_whose_worker_died_passes_on(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease ends by itself: the card at the head is sent by whoever comes next."""
    monkeypatch.setenv("TEAMS_SETTLE", "0")
    teams.configure()
    [(event, ctx)] = _burst(sample, context, 1)
    hung = asyncio.create_task(teams.notify(event, ctx))
    channel.orders.delay = 1
    async with asyncio.timeout(5):
        while not [key async for key in ctx.redis.scan_iter("*:turn")]:  # noqa: ASYNC110 - a key in Redis
            await asyncio.sleep(0.005)
    hung.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hung
    channel.orders.delay = 0
    with pytest.raises(RetryLater):
        await teams.notify(event, ctx)
    [turn] = [key async for key in ctx.redis.scan_iter("*:turn")]
    assert 0 < await ctx.redis.pttl(turn) <= 15_000
    await ctx.redis.delete(turn)
    await _until_done(event, ctx)
    assert set(_titles(channel)) == {"0"}  # twice, if the channel took the one whose answer nobody waited for


async def test_a_reply_that_got_lost_takes_no_second_turn(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client sends a command again when its reply is lost: the same token gets the same turn."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "same")
    ctx = context()
    box = outbox.Outbox(ctx.redis, "t:", outbox.Pace([(1, 60.0)], settle=0))
    mine = outbox.Waiting("k", ctx.received_at, {"message": {}})
    first, again = await box.take(mine), await box.take(mine)
    assert isinstance(first, outbox.Turn)
    assert first == again
    await box.sent(first)
    assert await box.take(mine) == await box.take(mine) == outbox.Outcome(outbox.SENT)


async def test_above_the_threshold_one_card_lists_the_rest(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a digest, a window has so many single cards, and the next begins with one that lists the others."""
    monkeypatch.setenv("TEAMS_DIGEST_ABOVE", "5")
    monkeypatch.setenv("TEAMS_DIGEST_WINDOW", "1s")
    monkeypatch.setenv("TEAMS_SETTLE", "50ms")
    teams.configure()
    await asyncio.sleep(1 - time.time() % 1)  # a window begins
    await Workers().handle(_burst(sample, context, 40))
    messages = [accepted["message"]["attachments"][0]["content"] for accepted in channel.accepted]
    assert [message["body"][0]["type"] for message in messages] == ["Container"] * 5 + ["TextBlock"]
    digest: dict[str, Any] = messages[-1]
    listed = [block["inlines"][-1]["text"] for block in digest["body"] if block["type"] == "RichTextBlock"]
    assert digest["body"][0]["text"] == "Mais 35 em 1 s"
    assert listed == [f"Nova Ação: Nr {number}" for number in range(5, 30)]
    assert digest["body"][-1]["text"] == "e mais 10"


async def _until_done(event: Event, ctx: Context) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await teams.notify(event, ctx)
            except RetryLater as later:
                await asyncio.sleep(later.seconds)
