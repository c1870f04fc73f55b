"""From a finished Work Order to the external system, over a real socket."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from examples.handlers import external_system
from examples.handlers.external_system.session import TargetUnavailable
from examples.stand_ins.erp import Erp
from examples.stand_ins.orders import Orders
from receiver.environment import SettingsError
from tests.examples.handlers.external_system.conftest import NOON, exists
from worker import Context, Event, GiveUp, RetryLater, Skip

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

pytestmark = pytest.mark.anyio


@pytest.fixture
def finished(sample: Callable[..., Event]) -> Event:
    return sample("work_order.completed")


async def test_a_finished_work_order_is_updated(erp: Erp, context: Callable[..., Context], finished: Event) -> None:
    """Its status and results arrive, under the handler's idempotency key."""
    await external_system.update(finished, context(key="external_system.update:evt_1"))
    assert erp.work_orders["wo_5d2c81"]["status"] == "COMPLETED"
    assert erp.work_orders["wo_5d2c81"]["results"][1] == {
        "task": "Pressão de descarga",
        "status": "Done",
        "value": 7.2,
        "unit": "bar",
    }
    assert erp.requests[0]["idempotency_key"] == "external_system.update:evt_1"


async def test_every_try_has_the_same_key(erp: Erp, context: Callable[..., Context], finished: Event) -> None:
    """A failure and its retry are one update to the erp."""
    erp.orders.answers.append(500)
    with pytest.raises(TargetUnavailable, match=r"^the external system answered 500$"):
        await external_system.update(finished, context())
    await external_system.update(finished, context(attempt=2))
    assert [(request["idempotency_key"], request["applied"]) for request in erp.requests] == [
        ("test:evt_1", False),
        ("test:evt_1", True),
    ]


async def test_a_target_that_says_at_once_is_given_a_second(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """`Retry-After: 0` uses up no try: without a pause it would be a loop."""
    erp.orders = Orders(answers=deque([503]), retry_after="0")
    with pytest.raises(RetryLater) as later:
        await external_system.update(at(0), context())
    assert later.value.seconds == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured_by_everyone(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event], status: int
) -> None:
    """A target that says when is asked again then, and not before by anybody else."""
    erp.orders = Orders(retry_after="30")
    erp.orders.answers.append(status)
    with pytest.raises(RetryLater, match=f"answered {status}") as later:
        await external_system.update(at(0), context())
    assert later.value.seconds == 30
    with pytest.raises(RetryLater, match="left alone"):
        await external_system.update(at(0, work_order="wo_2"), context(key="k2"))
    assert len(erp.requests) == 1


async def test_a_refusal_gives_up_with_the_targets_answer(
    erp: Erp, context: Callable[..., Context], finished: Event
) -> None:
    """What no retry can mend is a dead letter that shows what the target said."""
    erp.orders.answers.append(422)
    with pytest.raises(GiveUp, match=r"422: .*as ordered"):
        await external_system.update(finished, context())


async def test_an_event_without_what_is_required_gives_up(
    erp: Erp, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """The dead letter names the field, and nothing was sent."""
    with pytest.raises(GiveUp, match=r"nothing for the target's field status, which is required"):
        await external_system.update(sample("work_order.completed", status=None), context())
    assert erp.requests == []


async def test_an_older_event_never_overwrites_a_newer_one(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """However late it comes, it is skipped, and the reason says what was newer."""
    await external_system.update(at(2, "newer"), context(key="newer"))
    with pytest.raises(Skip, match=r"^older than the update of 2026-11-03T12:02:00Z$"):
        await external_system.update(at(1, "older"), context(key="older"))
    assert erp.work_orders["wo_1"]["status"] == "newer"
    assert len(erp.requests) == 1


async def test_an_older_event_does_not_slip_in_while_a_newer_one_waits_for_its_retry(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """A lost answer: the target applied the newer one and would not apply its retry over the older one again."""
    erp.orders = Orders(answers=deque([500]), applied=True)
    with pytest.raises(TargetUnavailable):
        await external_system.update(at(2, "newer"), context(key="newer"))
    with pytest.raises(Skip):
        await external_system.update(at(1, "older"), context(key="older"))
    await external_system.update(at(2, "newer"), context(key="newer"))
    assert erp.work_orders["wo_1"]["status"] == "newer"


async def test_an_older_event_may_come_after_a_newer_one_that_was_refused(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """What the target will never have does not stand in the way of what it will."""
    await external_system.update(at(1, "first"), context(key="first"))
    erp.orders.answers.append(422)
    with pytest.raises(GiveUp):
        await external_system.update(at(3, "bad"), context(key="bad"))
    await external_system.update(at(2, "second"), context(key="second"))
    assert erp.work_orders["wo_1"]["status"] == "second"


async def test_a_refusal_after_a_failure_stands_in_nobodys_way(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """Only what the target may still have counts: of three sent, the one that was refused does not."""
    erp.orders.answers.extend([500, 500, 422])
    with pytest.raises(TargetUnavailable):
        await external_system.update(at(2, "uncertain"), context(key="uncertain"))
    with pytest.raises(TargetUnavailable):
        await external_system.update(at(4, "bad"), context(key="bad"))
    with pytest.raises(GiveUp):
        await external_system.update(at(4, "bad"), context(key="bad", attempt=2))
    with pytest.raises(Skip):
        await external_system.update(at(1, "older than what may be there"), context(key="old"))
    assert erp.work_orders == {}
    await external_system.update(at(3, "newest"), context(key="newest"))
    assert erp.work_orders["wo_1"]["status"] == "newest"
    kept = await context().redis.execute_command("HGETALL", "glartek:external:generic-rest:wo_1:sent")
    assert list(kept) == [b"newest"]


async def test_events_of_the_same_moment_apply_in_the_order_received(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """Clocks that tell seconds only leave the order of receipt to decide."""
    await external_system.update(at(1, "second"), context(key="b", received_at=NOON + timedelta(seconds=2)))
    with pytest.raises(Skip):
        await external_system.update(at(1, "first"), context(key="a", received_at=NOON + timedelta(seconds=1)))
    assert erp.work_orders["wo_1"]["status"] == "second"


async def test_a_target_out_of_reach_is_an_ordinary_failure(
    configure: "Configure", context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """No connection means that nothing was sent, so the next may try at once."""
    configure(url="http://127.0.0.1:1")
    for _ in range(2):
        with pytest.raises(TargetUnavailable, match=r"^the external system could not be reached: ConnectError$"):
            await external_system.update(at(1), context())


async def test_what_was_not_sent_says_nothing_of_the_target(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event], sample: Callable[..., Event]
) -> None:
    """A dead letter for its id, or an event that is skipped, closes no circuit and uses up no probe."""
    redis, breaker = context().redis, "glartek:external:generic-rest:breaker"
    await external_system.update(at(2, work_order="wo_2"), context(key="k2"))
    await redis.set(f"{breaker}:failures", 3)
    with pytest.raises(GiveUp, match="no id that the target's URL can take"):
        await external_system.update(sample("work_order.completed", id="a/b"), context())
    with pytest.raises(Skip):
        await external_system.update(at(1, work_order="wo_2"), context(key="k1"))
    assert await redis.get(f"{breaker}:failures") == b"3"
    assert len(erp.requests) == 1
    await external_system.update(at(3, work_order="wo_2"), context(key="k3"))
    assert await redis.get(f"{breaker}:failures") is None


async def test_the_circuit_opens_for_all_workers_and_closes_by_a_probe(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """After three failures nobody asks the target; then one does, and its success lets everyone through."""
    erp.orders.answers.extend([500, 500, 500])
    for number in range(3):
        with pytest.raises(TargetUnavailable):
            await external_system.update(at(0, work_order=f"wo_{number}"), context(key=f"k{number}"))
    with pytest.raises(RetryLater, match="left alone") as later:
        await external_system.update(at(0), context())
    assert 59 < later.value.seconds <= 67
    assert len(erp.requests) == 3
    await context().redis.delete("glartek:external:generic-rest:breaker:open")  # a minute later
    erp.orders = Orders(delay=0.5)
    probe = asyncio.create_task(external_system.update(at(0), context()))
    await exists(context().redis, "glartek:external:generic-rest:breaker:probe")
    with pytest.raises(RetryLater, match="left alone"):
        await external_system.update(at(0, work_order="wo_2"), context(key="k2"))
    await probe
    await external_system.update(at(0, work_order="wo_2"), context(key="k2"))


async def test_a_probe_that_fails_opens_the_circuit_for_longer(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """Each failed probe doubles the wait, five minutes at most."""
    waits = []
    erp.orders.answers.extend([500] * 9)
    for number in range(9):
        with pytest.raises(TargetUnavailable):
            await external_system.update(at(0, work_order=f"wo_{number}"), context(key=f"k{number}"))
        waits.append(await context().redis.pttl("glartek:external:generic-rest:breaker:open") / 1000)
        await context().redis.delete("glartek:external:generic-rest:breaker:open")
    assert [round(wait, -1) for wait in waits if wait > 0] == [60, 120, 240, 300, 300, 300, 300]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_the_last_event_of_each_work_order_stands(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event], seed: int
) -> None:
    """Shuffled, doubled, through failures and lost answers: keys applied once, the last event stands.

    Work Orders side by side, but one event of each at a time, as `in_order` gives them.
    """
    chance = random.Random(seed)
    todo = [
        (at(minute, f"status {minute}", f"wo_{order}"), f"{order}:{minute}")
        for order in range(4)
        for minute in range(6)
    ]
    todo += chance.sample(todo, 8)
    chance.shuffle(todo)
    erp.orders = Orders(answers=deque(chance.choices([500, 408, 503], k=20)), applied=chance.random() < 0.5)
    while todo:
        first = {event.subject: (event, key) for event, key in reversed(todo)}
        batch = list(first.values())
        for work in batch:
            todo.remove(work)
        done = await asyncio.gather(
            *(external_system.update(event, context(key=key)) for event, key in batch), return_exceptions=True
        )
        todo += [
            work
            for work, outcome in zip(batch, done, strict=True)
            if isinstance(outcome, TargetUnavailable | RetryLater)
        ]
        assert all(isinstance(outcome, TargetUnavailable | RetryLater | Skip | None) for outcome in done)
        await context().redis.delete("glartek:external:generic-rest:breaker:open")
    assert {name: state["status"] for name, state in erp.work_orders.items()} == {
        f"wo_{order}": "status 5" for order in range(4)
    }
    applied = [request["idempotency_key"] for request in erp.requests if request["applied"]]
    assert len(applied) == len(set(applied))


@pytest.mark.parametrize("url", ["http://erp.example.com", "erp", "http://[", "https://erp.example.com?x=1"])
def test_a_wrong_url_stops_the_start(configure: "Configure", url: str) -> None:
    """The base URL must be https, or http on this machine."""
    with pytest.raises(SettingsError, match=r"^EXTERNAL_URL: expected a URL such as"):
        configure(url=url)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"target": "sap"}, ["EXTERNAL_TARGET: expected generic_rest, sap_maintenance_order, servicenow or a module"]),
        ({"target": "servicenow"}, ["EXTERNAL_CLIENT_ID: is not set", "EXTERNAL_CLIENT_SECRET: is not set"]),
        (
            {"token": "S3CRET"},
            ["EXTERNAL_TOKEN: is set, but target generic-rest does not use it; unset it"],
        ),
    ],
)
def test_settings_and_target_are_checked_batcher(
    configure: "Configure", variables: dict[str, str], expected: list[str]
) -> None:
    """A secret that the target's auth needs and has not, or has and needs not, is one line each."""
    with pytest.raises(SettingsError) as refused:
        configure(url="https://erp.example.com", **variables)
    assert [line[: len(start)] for line, start in zip(refused.value.lines, expected, strict=True)] == expected
    assert "S3CRET" not in str(refused.value)
