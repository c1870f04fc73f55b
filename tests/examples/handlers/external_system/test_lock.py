"""One update of a Work Order at a time."""

import asyncio
from collections.abc import Callable

import pytest

from examples.handlers import external_system
from examples.handlers.external_system import lock
from examples.handlers.external_system.session import Unanswered
from examples.stand_ins.erp import Erp
from examples.stand_ins.orders import Orders
from tests.examples.handlers.external_system.conftest import exists
from worker import Context, Event, RetryLater

pytestmark = pytest.mark.anyio


async def test_a_run_is_over_before_its_turn_is(context: Callable[..., Context]) -> None:
    """Whatever takes too long is stopped while nobody else can have the turn."""
    ctx = context()
    with pytest.raises(TimeoutError):
        async with lock.held(ctx, "wo", within=0.05, left_after=Unanswered):
            await asyncio.sleep(60)
    assert await ctx.redis.exists("wo:turn")


async def test_one_work_order_is_updated_by_one_at_a_time(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """While one update is under way another of the same Work Order waits; one of another does not."""
    erp.orders = Orders(delay=0.15)
    first = asyncio.create_task(external_system.update(at(1), context(key="k1")))
    await exists(context().redis, "glartek:external:generic-rest:wo_1:turn")
    with pytest.raises(RetryLater, match="another update of this Work Order is under way"):
        await external_system.update(at(2), context(key="k2"))
    await external_system.update(at(2, work_order="wo_2"), context(key="k3"))
    await first
    await external_system.update(at(2), context(key="k2"))


async def test_an_update_without_an_answer_keeps_its_turn(
    erp: Erp, context: Callable[..., Context], at: Callable[..., Event]
) -> None:
    """The target may still be busy with it: a later update must not be overtaken by a late end of this one."""
    erp.orders = Orders(delay=0.6)
    with pytest.raises(Unanswered, match=r"^the external system did not answer: ReadTimeout$"):
        await external_system.update(at(1), context(key="k1"))
    with pytest.raises(RetryLater, match="under way"):
        await external_system.update(at(2), context(key="k2"))
