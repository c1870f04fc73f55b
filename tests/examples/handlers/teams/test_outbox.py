"""Many events, one channel: whole and in order, whatever the channel, a run or Redis does."""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from examples import sink
from examples.handlers import teams
from examples.handlers.teams import outbox
from receiver.queue.connection import connect, outage
from tests.conftest import Server
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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of milliseconds where the channel gave no time."""
    monkeypatch.setattr(outbox, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(outbox, "_LONGEST_PAUSE", 0.02)


class Workers:
    """Ten slots that run what is due, as the kit's workers do: `RetryLater` gives the slot back."""

    def __init__(self) -> None:
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
            try:
                await teams.notify(event, ctx)
            except RetryLater as later:
                heapq.heappush(self._due, (time.monotonic() + later.seconds, number, event, ctx))
            else:
                self._open -= 1


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


@pytest.mark.usefixtures("impatient")
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


@pytest.mark.usefixtures("impatient")
async def test_a_card_that_always_fails_does_not_hold_up_the_others(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """Not even when its failures say Retry-After: after three the others pass, and its own handler uses up a try."""
    bad, *good = _burst(sample, context, 3)
    channel.orders = sink.Orders(answers=deque([503, 503, 503]), retry_after="0")
    with pytest.raises(teams.TeamsUnavailable):
        await _until_done(*bad)
    await Workers().handle(good)
    await _until_done(*_at_attempt(bad, 2))
    assert _titles(channel) == ["1", "2", "0"]


@pytest.mark.usefixtures("impatient")
async def test_a_card_that_this_version_cannot_send_does_not_hold_up_the_others(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """What an older version queued lets the others pass too, and its own handler queues it anew."""
    old, good = _burst(sample, context, 2)
    box = outbox.Outbox(context().redis, f"glartek:teams:{teams._settings().channel}:", outbox.Pace([(1, 1)], settle=9))
    await box.take(outbox.Waiting(old[1].idempotency_key, old[1].received_at, 1, {"of": "an older version"}))
    for _ in range(3):
        with pytest.raises(KeyError):
            await _until_done(*good)
    await _until_done(*good)
    with pytest.raises(teams.TeamsUnavailable):
        await _until_done(*old)
    await _until_done(*_at_attempt(old, 2))
    assert _titles(channel) == ["1", "0"]


@pytest.mark.usefixtures("impatient")
async def test_a_run_that_is_cancelled_gives_its_turn_back(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A worker that stops in the middle of sending leaves a channel that the others can go on with."""
    [(event, ctx)] = _burst(sample, context, 1)
    channel.orders.delay = 0.3
    stopped = asyncio.create_task(_until_done(event, ctx))
    await _until_sending(ctx)
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    assert not [key async for key in ctx.redis.scan_iter("*:turn")]
    channel.orders.delay = 0
    await _until_done(event, ctx)
    assert set(_titles(channel)) == {"0"}  # twice, if the channel took the one whose answer nobody waited for


@pytest.mark.usefixtures("channel", "impatient")
async def test_a_run_gives_its_turn_back_wherever_it_is_cancelled(
    context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A turn whose answer nobody waited for does not keep the channel shut until its lease is over."""
    [(event, ctx)] = _burst(sample, context, 1)
    with pytest.raises(RetryLater) as later:  # queued: from here on it is sent in one go
        await teams.notify(event, ctx)
    await asyncio.sleep(later.value.seconds)
    for steps in itertools.count():
        run = asyncio.create_task(teams.notify(event, ctx))
        for _ in range(steps):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait([run])
        if not run.cancelled():
            break
        async with asyncio.timeout(5):
            while [  # noqa: ASYNC110 - keys in Redis
                key async for key in ctx.redis.scan_iter() if key.endswith((b":turn", b":paused"))
            ]:
                await asyncio.sleep(0.005)


async def test_what_was_sent_while_redis_was_killed_is_not_sent_again(
    channel: sink.Teams,
    context: Callable[..., Context],
    sample: Callable[..., Event],
    server: Server,
) -> None:
    """The outcome of a card that was on its way is written when Redis is there again, and a crash later finds it."""
    redis = connect(server.url)
    [(event, ctx)] = _burst(sample, lambda **options: replace(context(**options), redis=redis), 1)
    channel.orders.delay = 0.2
    sending = asyncio.create_task(_until_done(event, ctx))
    await _until_sending(ctx)
    server.kill()
    async with asyncio.timeout(10):
        while not outage._waiting:  # noqa: ASYNC110 - a call that another task makes
            await asyncio.sleep(0.01)
    server.start()
    await sending
    await teams.notify(event, ctx)  # the same attempt again
    assert _titles(channel) == ["0"]
    await redis.aclose()


async def test_a_full_redis_stops_no_card(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event], server: Server
) -> None:
    """Cards that go out are what makes room again."""
    redis = connect(server.url)
    await redis.config_set("maxmemory", 1)
    work = _burst(sample, lambda **options: replace(context(**options), redis=redis), 2)
    await Workers().handle(work)
    assert _titles(channel) == ["0", "1"]
    await redis.aclose()


async def test_a_replay_is_sent_however_soon_it_comes(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The same attempt again is a crash and finds its card sent; a later one was asked for by somebody."""
    [work] = _burst(sample, context, 1)
    await _until_done(*work)
    await _until_done(*work)
    assert _titles(channel) == ["0"]
    await _until_done(*_at_attempt(work, 9))
    assert _titles(channel) == ["0", "0"]


async def test_a_card_that_another_run_sent_is_not_sent_again_by_a_replay(
    channel: sink.Teams, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A handler that died while its card waited in line: the card went out, and the replay finds that."""
    first, second = _burst(sample, context, 2)
    with pytest.raises(RetryLater):  # settling: it waits in line
        await teams.notify(*first)
    await _until_done(*second)
    assert _titles(channel) == ["0", "1"]
    await teams.notify(*_at_attempt(first, 40))
    assert _titles(channel) == ["0", "1"]


@pytest.mark.parametrize("digest_above", [0, 1])
async def test_a_reply_that_got_lost_takes_no_second_turn(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, digest_above: int
) -> None:
    """The client sends a command again when its reply is lost: the same token gets the same turn."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "same")
    ctx = context()
    box = outbox.Outbox(ctx.redis, "t:", outbox.Pace([(1, 60.0)], 0, digest_above))
    mine = outbox.Waiting("k", ctx.received_at, 1, {"message": {}})
    first, again = await box.take(mine), await box.take(mine)
    assert isinstance(first, outbox.Turn)
    assert first == again
    await box.sent(first)
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
    await Workers().handle(_burst(sample, context, 20))
    cards = [accepted["message"]["attachments"][0]["content"] for accepted in channel.accepted]
    singles = [card for card in cards if card["body"][0]["type"] == "Container"]
    digests = [card for card in cards if card["body"][0]["type"] == "TextBlock"]
    listed = [block["inlines"][-1]["text"] for card in digests for block in card["body"][1:]]
    assert 5 <= len(singles) <= 10  # more than five where a window ended in the middle of them
    assert digests[0]["body"][0]["text"] == f"Mais {len(listed)} eventos em 1 s"
    assert [card["fallbackText"] for card in singles] + listed == [f"Nova Ação: Nr {number}" for number in range(20)]


def _at_attempt(work: tuple[Event, Context], attempt: int) -> tuple[Event, Context]:
    return work[0], replace(work[1], attempt=attempt)


async def _until_sending(ctx: Context) -> None:
    async with asyncio.timeout(10):
        while not [key async for key in ctx.redis.scan_iter("*:turn")]:  # noqa: ASYNC110 - a key in Redis
            await asyncio.sleep(0.005)


async def _until_done(event: Event, ctx: Context) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await teams.notify(event, ctx)
            except RetryLater as later:
                await asyncio.sleep(later.seconds)
