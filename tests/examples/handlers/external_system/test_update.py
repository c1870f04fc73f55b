"""From a finished Work Order to the external system, over a real socket."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis
from structlog.testing import LogCapture

from examples import sink
from examples.handlers import external_system
from examples.handlers.external_system import order
from examples.handlers.external_system.send import TargetUnavailable, Unanswered
from examples.stand_ins.erp import Erp
from examples.stand_ins.orders import Orders
from receiver.settings import SettingsError
from worker import Context, Event, GiveUp, RetryLater

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

pytestmark = pytest.mark.anyio
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


@pytest.fixture
def target(serve: Callable[[object], str], configure: "Configure") -> Erp:
    """An external system, and the handler configured for it."""
    target = Erp()
    configure(url=serve(sink.create_app(external=target)), timeout="0.3s", breaker_failures="3", breaker_open="1m")
    return target


@pytest.fixture
def finished(sample: Callable[..., Event]) -> Event:
    return sample("work_order.completed")


@pytest.fixture
def at(event_of: Callable[..., Event]) -> Callable[..., Event]:
    """An event of a Work Order at so many minutes past noon."""

    def make(minute: float, status: str = "Done", work_order: str = "wo_1") -> Event:
        time = (NOON + timedelta(minutes=minute)).isoformat()
        return event_of(
            {
                "id": f"evt_{work_order}_{minute}",
                "type": "work_order.completed",
                "occurred_at": time,
                "work_order": {"id": work_order, "status": status},
            }
        )

    return make


async def _exists(redis: Redis, key: str) -> None:
    """Return once the key is there."""
    async with asyncio.timeout(5):
        while not await redis.exists(key):  # noqa: ASYNC110 - another process's key has no event to wait for
            await asyncio.sleep(0.005)


async def test_a_finished_work_order_is_updated(target: Erp, context: Callable[..., Context], finished: Event) -> None:
    """Its status and results arrive, under the handler's idempotency key."""
    await external_system.update(finished, context(key="external_system.update:evt_1"))
    assert target.work_orders["wo_5d2c81"]["status"] == "COMPLETED"
    assert target.work_orders["wo_5d2c81"]["results"][1] == {
        "task": "Pressão de descarga",
        "status": "Done",
        "value": 7.2,
        "unit": "bar",
    }
    assert target.requests[0]["idempotency_key"] == "external_system.update:evt_1"


async def test_every_try_has_the_same_key(target: Erp, context: Callable[..., Context], finished: Event) -> None:
    """A failure and its retry are one update to the target."""
    target.orders.answers.append(500)
    with pytest.raises(TargetUnavailable, match=r"^the external system answered 500$"):
        await external_system.update(finished, context())
    await external_system.update(finished, context(attempt=2))
    assert [(request["idempotency_key"], request["applied"]) for request in target.requests] == [
        ("test:evt_1", False),
        ("test:evt_1", True),
    ]


async def test_a_target_that_says_at_once_is_given_a_second(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """`Retry-After: 0` uses up no try: without a pause it would be a loop."""
    target.orders = Orders(answers=deque([503]), retry_after="0")
    with pytest.raises(RetryLater) as later:
        await external_system.update(at(0), context())
    assert later.value.seconds == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured_by_everyone(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event], status: int
) -> None:
    """A target that says when is asked again then, and not before by anybody else."""
    target.orders = Orders(retry_after="30")
    target.orders.answers.append(status)
    with pytest.raises(RetryLater, match=f"answered {status}") as later:
        await external_system.update(at(0), context())
    assert later.value.seconds == 30
    with pytest.raises(RetryLater, match="left alone"):
        await external_system.update(at(0, work_order="wo_2"), context(key="k2"))
    assert len(target.requests) == 1


async def test_a_refusal_gives_up_with_the_targets_answer(
    target: Erp, context: Callable[..., Context], finished: Event
) -> None:
    """What no retry can mend is a dead letter that shows what the target said."""
    target.orders.answers.append(422)
    with pytest.raises(GiveUp, match=r"422: .*as ordered"):
        await external_system.update(finished, context())


async def test_an_event_without_what_is_required_gives_up(
    target: Erp, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The dead letter names the field, and nothing was sent."""
    with pytest.raises(GiveUp, match=r"nothing for the target's field status, which is required"):
        await external_system.update(sample("work_order.completed", status=None), context())
    assert target.requests == []


async def test_an_older_event_never_overwrites_a_newer_one(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event], logs: LogCapture
) -> None:
    """However late it comes, it is done without being sent."""
    await external_system.update(at(2, "newer"), context(key="newer"))
    await external_system.update(at(1, "older"), context(key="older"))
    assert target.work_orders["wo_1"]["status"] == "newer"
    assert len(target.requests) == 1
    assert logs.entries[-1]["event"] == "external system: stale update skipped"


async def test_an_older_event_does_not_slip_in_while_a_newer_one_waits_for_its_retry(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """A lost answer: the target applied the newer one and would not apply its retry over the older one again."""
    target.orders = Orders(answers=deque([500]), applied=True)
    with pytest.raises(TargetUnavailable):
        await external_system.update(at(2, "newer"), context(key="newer"))
    await external_system.update(at(1, "older"), context(key="older"))
    await external_system.update(at(2, "newer"), context(key="newer"))
    assert target.work_orders["wo_1"]["status"] == "newer"


async def test_an_older_event_may_come_after_a_newer_one_that_was_refused(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """What the target will never have does not stand in the way of what it will."""
    await external_system.update(at(1, "first"), context(key="first"))
    target.orders.answers.append(422)
    with pytest.raises(GiveUp):
        await external_system.update(at(3, "bad"), context(key="bad"))
    await external_system.update(at(2, "second"), context(key="second"))
    assert target.work_orders["wo_1"]["status"] == "second"


async def test_a_refusal_after_a_failure_stands_in_nobodys_way(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """Only what the target may still have counts: of three sent, the one that was refused does not."""
    target.orders.answers.extend([500, 500, 422])
    with pytest.raises(TargetUnavailable):
        await external_system.update(at(2, "uncertain"), context(key="uncertain"))
    with pytest.raises(TargetUnavailable):
        await external_system.update(at(4, "bad"), context(key="bad"))
    with pytest.raises(GiveUp):
        await external_system.update(at(4, "bad"), context(key="bad", attempt=2))
    await external_system.update(at(1, "older than what may be there"), context(key="old"))
    assert target.work_orders == {}
    await external_system.update(at(3, "newest"), context(key="newest"))
    assert target.work_orders["wo_1"]["status"] == "newest"
    kept = await context().redis.execute_command("HGETALL", "glartek:external:generic-rest:wo_1:sent")
    assert list(kept) == [b"newest"]


async def test_a_run_is_over_before_its_turn_is(context: Callable[..., Context]) -> None:
    """Whatever takes too long is stopped while nobody else can have the turn."""
    ctx = context()
    with pytest.raises(TimeoutError):
        async with order.turn(ctx, "wo", order.Moment(1, 1), within=0.05):
            await asyncio.sleep(60)
    assert await ctx.redis.exists("wo:turn")


async def test_events_of_the_same_moment_apply_in_the_order_received(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """Clocks that tell seconds only leave the order of receipt to decide."""
    await external_system.update(at(1, "second"), context(key="b", received_at=NOON + timedelta(seconds=2)))
    await external_system.update(at(1, "first"), context(key="a", received_at=NOON + timedelta(seconds=1)))
    assert target.work_orders["wo_1"]["status"] == "second"


async def test_one_work_order_is_updated_by_one_at_a_time(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """While one update is under way another of the same Work Order waits; one of another does not."""
    target.orders = Orders(delay=0.15)
    first = asyncio.create_task(external_system.update(at(1), context(key="k1")))
    await _exists(context().redis, "glartek:external:generic-rest:wo_1:turn")
    with pytest.raises(RetryLater, match="another update of this Work Order is under way"):
        await external_system.update(at(2), context(key="k2"))
    await external_system.update(at(2, work_order="wo_2"), context(key="k3"))
    await first
    await external_system.update(at(2), context(key="k2"))


async def test_an_update_without_an_answer_keeps_its_turn(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """The target may still be busy with it: a later update must not be overtaken by a late end of this one."""
    target.orders = Orders(delay=0.6)
    with pytest.raises(Unanswered, match=r"^the external system did not answer: ReadTimeout$"):
        await external_system.update(at(1), context(key="k1"))
    with pytest.raises(RetryLater, match="under way"):
        await external_system.update(at(2), context(key="k2"))


async def test_a_target_out_of_reach_is_an_ordinary_failure(
    configure: "Configure", context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """No connection means that nothing was sent, so the next may try at once."""
    configure(url="http://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(TargetUnavailable, match=r"^the external system could not be reached: ConnectError$"):
            await external_system.update(at(1), context())


async def test_the_circuit_opens_for_all_workers_and_closes_by_a_probe(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """After three failures nobody asks the target; then one does, and its success lets everyone through."""
    target.orders.answers.extend([500, 500, 500])
    for number in range(3):
        with pytest.raises(TargetUnavailable):
            await external_system.update(at(0, work_order=f"wo_{number}"), context(key=f"k{number}"))
    with pytest.raises(RetryLater, match="left alone") as later:
        await external_system.update(at(0), context())
    assert 59 < later.value.seconds <= 67
    assert len(target.requests) == 3
    await context().redis.delete("glartek:external:generic-rest:breaker:open")  # a minute later
    target.orders = Orders(delay=0.15)
    probe = asyncio.create_task(external_system.update(at(0), context()))
    await _exists(context().redis, "glartek:external:generic-rest:breaker:probe")
    with pytest.raises(RetryLater, match="left alone"):
        await external_system.update(at(0, work_order="wo_2"), context(key="k2"))
    await probe
    await external_system.update(at(0, work_order="wo_2"), context(key="k2"))


async def test_a_probe_that_fails_opens_the_circuit_for_longer(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """Each failed probe doubles the wait, five minutes at most."""
    waits = []
    target.orders.answers.extend([500] * 9)
    for number in range(9):
        with pytest.raises(TargetUnavailable):
            await external_system.update(at(0, work_order=f"wo_{number}"), context(key=f"k{number}"))
        waits.append(await context().redis.pttl("glartek:external:generic-rest:breaker:open") / 1000)
        await context().redis.delete("glartek:external:generic-rest:breaker:open")
    assert [round(wait, -1) for wait in waits if wait > 0] == [60, 120, 240, 300, 300, 300, 300]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_last_event_of_each_work_order_stands(
    target: Erp, context: Callable[..., Context], at: Callable[..., Event], seed: int
) -> None:
    """Shuffled, doubled, side by side, through failures and lost answers: keys applied once, the last event stands."""
    chance = random.Random(seed)
    todo = [
        (at(minute, f"status {minute}", f"wo_{order}"), f"{order}:{minute}")
        for order in range(4)
        for minute in range(6)
    ]
    todo += chance.sample(todo, 8)
    chance.shuffle(todo)
    target.orders = Orders(answers=deque(chance.choices([500, 408, 503], k=20)), applied=chance.random() < 0.5)
    while todo:
        batch, todo = todo[:6], todo[6:]
        done = await asyncio.gather(
            *(external_system.update(event, context(key=key)) for event, key in batch), return_exceptions=True
        )
        todo += [work for work, outcome in zip(batch, done, strict=True) if outcome is not None]
        assert all(isinstance(outcome, (TargetUnavailable, RetryLater, type(None))) for outcome in done)
        await context().redis.delete("glartek:external:generic-rest:breaker:open")
    assert {name: state["status"] for name, state in target.work_orders.items()} == {
        f"wo_{order}": "status 5" for order in range(4)
    }
    applied = [request["idempotency_key"] for request in target.requests if request["applied"]]
    assert len(applied) == len(set(applied))


@pytest.mark.parametrize("url", ["http://erp.example.com", "erp", "http://[", "https://erp.example.com?x=1"])
def test_a_wrong_url_stops_the_start(configure: "Configure", url: str) -> None:
    """The base URL must be https, or http on this machine."""
    with pytest.raises(SettingsError, match=r"^EXTERNAL_URL: expected a URL such as"):
        configure(url=url)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"target": "sap"}, ["EXTERNAL_TARGET: expected generic_rest, sap_maintenance_order, servicenow or the path"]),
        ({"target": "servicenow"}, ["EXTERNAL_CLIENT_ID: is not set", "EXTERNAL_CLIENT_SECRET: is not set"]),
        (
            {"token": "S3CRET"},
            ['EXTERNAL_TOKEN: is set, but auth.kind = "none" of target generic-rest does not use it'],
        ),
    ],
)
def test_settings_and_file_are_checked_together(
    configure: "Configure", variables: dict[str, str], expected: list[str]
) -> None:
    """A secret that the file's auth.kind needs and has not, or has and needs not, is one line each."""
    with pytest.raises(SettingsError) as refused:
        configure(url="https://erp.example.com", **variables)
    assert [line[: len(start)] for line, start in zip(refused.value.lines, expected, strict=True)] == expected
    assert "S3CRET" not in str(refused.value)
