"""A finished Work Order and SAP's OData: CSRF token, session cookie, ETag, If-Match."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from examples.handlers import external_system
from examples.handlers.external_system import TargetUnavailable
from examples.stand_ins.orders import Orders
from examples.stand_ins.sap import Sap
from worker import Context, Event, GiveUp, Skip

pytestmark = pytest.mark.anyio


@pytest.fixture
def finished(sample: Callable[..., Event]) -> Event:
    return sample("work_order.completed", code="4000123")


async def test_the_order_has_the_work_orders_times(sap: Sap, context: Callable[..., Context], finished: Event) -> None:
    """One GET for token, cookie and ETag, one PATCH that carries them all."""
    await external_system.update(finished, context())
    assert sap.seen == [("GET", 200), ("PATCH", 204)]
    assert sap.orders_kept["4000123"] == {
        "MaintenanceOrderDesc": "Inspeção mensal do compressor C-12",
        "MaintOrdBasicStartDateTime": "/Date(1793695267000+0000)/",
        "MaintOrdBasicEndDateTime": "/Date(1793697175000+0000)/",
    }


async def test_an_update_repeated_after_a_lost_answer_reads_the_new_etag(
    sap: Sap, context: Callable[..., Context], finished: Event
) -> None:
    """SAP knows no idempotency key: the repeat is of the record as it is now, and leaves it as once."""
    sap.orders = Orders(answers=deque([502]), applied=True, method="PATCH")
    with pytest.raises(TargetUnavailable, match="answered 502"):
        await external_system.update(finished, context())
    once = dict(sap.orders_kept["4000123"])
    await external_system.update(finished, context(attempt=2))
    assert [status for _, status in sap.seen] == [200, 502, 200, 204]
    assert sap.orders_kept["4000123"] == once


async def test_a_session_that_ended_is_begun_anew(sap: Sap, context: Callable[..., Context], finished: Event) -> None:
    """403 with `x-csrf-token: Required` means a new token and session, not a dead letter."""
    sap.after_read.append(sap.sessions.clear)
    await external_system.update(finished, context())
    assert sap.seen == [("GET", 200), ("PATCH", 403), ("GET", 200), ("PATCH", 204)]


async def test_a_change_in_between_is_read_again(sap: Sap, context: Callable[..., Context], finished: Event) -> None:
    """412: the record is read anew, and what a colleague changed in another field stays."""
    sap.after_read.append(lambda: sap.change("4000123", MaintPriority="1"))
    await external_system.update(finished, context())
    assert [status for _, status in sap.seen] == [200, 412, 200, 204]
    assert sap.orders_kept["4000123"]["MaintPriority"] == "1"


async def test_a_record_that_never_rests_is_left_for_later(
    sap: Sap, context: Callable[..., Context], finished: Event
) -> None:
    """After three readings the worker's back-off takes over."""
    sap.after_read += [lambda: sap.change("4000123")] * 3
    with pytest.raises(TargetUnavailable, match="changed 3 times"):
        await external_system.update(finished, context())


async def test_a_change_in_between_does_not_keep_the_circuit_open(
    sap: Sap, context: Callable[..., Context], finished: Event
) -> None:
    """412 to the probe is an answer like any other: the update goes on with the next reading."""
    await context().redis.set("glartek:external:sap-maintenance-order:breaker:failures", 5)
    sap.after_read.append(lambda: sap.change("4000123"))
    await external_system.update(finished, context())
    assert [status for _, status in sap.seen] == [200, 412, 200, 204]


async def test_an_older_event_that_waited_on_412_is_stale(
    sap: Sap, context: Callable[..., Context], finished: Event
) -> None:
    """The stale guard is asked again after 412, so that the newer update stays."""
    occurred = int(datetime(2026, 11, 3, 9, 12, 55, tzinfo=UTC).timestamp()) * 1_000_000  # the finished one's
    key = "glartek:external:sap-maintenance-order:wo_5d2c81:sent"

    async def keep() -> None:
        await ctx.redis.execute_command("HSET", key, "newer", f"{occurred + 1} {occurred}")

    def a_newer_one_is_applied() -> None:
        sap.change("4000123", MaintenanceOrderDesc="newer")
        asyncio.run_coroutine_threadsafe(keep(), loop).result(5)

    ctx, loop = context(received_at=datetime(2026, 11, 3, 9, 13, tzinfo=UTC)), asyncio.get_running_loop()
    sap.after_read.append(a_newer_one_is_applied)
    with pytest.raises(Skip, match=r"^older than the update of 2026-11-03T09:12:55Z$"):
        await external_system.update(finished, ctx)
    assert sap.orders_kept["4000123"]["MaintenanceOrderDesc"] == "newer"


async def test_an_order_that_sap_does_not_know_is_a_dead_letter(
    sap: Sap, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A permanent refusal shows SAP's own words."""
    with pytest.raises(GiveUp, match=r"404: .*no such order"):
        await external_system.update(sample("work_order.completed", code="1"), context())
    assert sap.seen == [("GET", 404)]


async def test_an_id_cannot_leave_its_place_in_the_url(
    sap: Sap, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A quote in the code is doubled and encoded: it names an order that does not exist, and nothing else."""
    with pytest.raises(GiveUp, match="404"):
        await external_system.update(sample("work_order.completed", code="4000123')?x=('"), context())
    assert sap.orders_kept["4000123"] == {"MaintenanceOrderDesc": "old"}
