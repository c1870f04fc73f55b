"""A finished Work Order and ServiceNow's Table API: OAuth2, sys_id by number, limits by the hour."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from examples.handlers import external_system
from examples.handlers.external_system import TargetUnavailable
from examples.stand_ins.orders import Orders
from examples.stand_ins.servicenow import ServiceNow
from worker import Context, Event, GiveUp, RetryLater

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

pytestmark = pytest.mark.anyio
SYS_ID = "9d385017c611228701d22104cc95c371"


@pytest.fixture
def finished(sample: Callable[..., Event]) -> Event:
    return sample("work_order.completed", code="WO0012")


async def test_the_record_with_the_number_is_closed(
    servicenow: ServiceNow, context: Callable[..., Context], finished: Event
) -> None:
    """A token, the sys_id of the number, then the update, in ServiceNow's own writing of times."""
    await external_system.update(finished, context())
    assert servicenow.seen == [("GET", 200), ("PATCH", 200)]
    assert servicenow.records[SYS_ID] | {"close_notes": ""} == {
        "number": "WO0012",
        "state": "7",
        "work_start": "2026-11-03 08:41:07",
        "work_end": "2026-11-03 09:12:55",
        "correlation_id": "wo_5d2c81",
        "close_notes": "",
    }


async def test_an_update_repeated_after_a_lost_answer_leaves_the_record_as_once(
    servicenow: ServiceNow, context: Callable[..., Context], finished: Event
) -> None:
    """The Table API knows no idempotency key: what is sent is the same once or twice, and no journal grows."""
    servicenow.orders = Orders(answers=deque([502]), applied=True, method="PATCH")
    with pytest.raises(TargetUnavailable):
        await external_system.update(finished, context())
    once = dict(servicenow.records[SYS_ID])
    await external_system.update(finished, context(attempt=2))
    assert servicenow.records[SYS_ID] == once


async def test_one_token_serves_many_updates_at_once(
    servicenow: ServiceNow, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """A token is fetched once and kept until shortly before it ends; one taken back is renewed once, for all."""
    ctx = context()
    events = [sample("work_order.completed", id=f"wo_{number}", code="WO0012") for number in range(5)]

    async def tokens_after_all_updates() -> int:
        await asyncio.gather(*(external_system.update(event, ctx) for event in events))
        return servicenow.issued

    assert await tokens_after_all_updates() == 1
    assert await tokens_after_all_updates() == 1
    servicenow.tokens.clear()
    assert await tokens_after_all_updates() == 2


async def test_a_new_token_that_is_refused_too_is_a_dead_letter(
    servicenow: ServiceNow, context: Callable[..., Context], finished: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One renewal, then a person has to look."""
    monkeypatch.setattr(servicenow, "tokens", _Forgetful())
    with pytest.raises(GiveUp, match=r"401: .*User Not Authenticated"):
        await external_system.update(finished, context())
    assert servicenow.issued == 2


class _Forgetful(set[str]):
    def add(self, token: str) -> None:
        """Keep nothing: every token is refused."""


@pytest.mark.parametrize("says_retry_after", [True, False])
async def test_the_hourly_limit_is_waited_out_by_everyone(
    servicenow: ServiceNow,
    context: Callable[..., Context],
    finished: Event,
    sample: Callable[..., Event],
    *,
    says_retry_after: bool,
) -> None:
    """429 with Retry-After, or with the time of reset alone, holds this update and all others until then."""
    servicenow.left, servicenow.says_retry_after = 0, says_retry_after
    with pytest.raises(RetryLater, match="answered 429") as later:
        await external_system.update(finished, context())
    assert 1190 < later.value.seconds <= 1200
    asked = len(servicenow.seen)
    with pytest.raises(RetryLater, match="left alone") as others:
        await external_system.update(sample("work_order.completed", id="wo_2", code="WO0012"), context(key="k2"))
    assert others.value.seconds > 1100
    assert len(servicenow.seen) == asked


async def test_a_number_without_a_record_is_a_dead_letter(
    servicenow: ServiceNow, context: Callable[..., Context], sample: Callable[..., Event]
) -> None:
    """Nothing to update is for a person to look at."""
    with pytest.raises(GiveUp, match="has no record for this Work Order"):
        await external_system.update(sample("work_order.completed", code="WO9999"), context())
    assert servicenow.seen == [("GET", 200)]


@pytest.mark.parametrize("code", ["x^ORnumber=WO0012", "x&number=WO0012", "javascript:x", "", None])
async def test_a_number_cannot_widen_the_query(
    servicenow: ServiceNow, context: Callable[..., Context], sample: Callable[..., Event], code: str | None
) -> None:
    """What has a meaning in a query is no number; nothing is asked."""
    with pytest.raises(GiveUp, match="the Work Order's code is no record's number"):
        await external_system.update(sample("work_order.completed", code=code), context())
    assert servicenow.records[SYS_ID]["state"] == "3"
    assert servicenow.seen == []


async def test_a_client_that_is_refused_is_a_dead_letter_without_its_secret(
    servicenow: ServiceNow, context: Callable[..., Context], finished: Event, configure: "Configure"
) -> None:
    """A wrong client secret is for a person to mend, and is not repeated."""
    configure(client_secret="wrong-S3CRET")
    with pytest.raises(
        GiveUp, match=r"^the token endpoint answered 401 and no token: {\"error\":\"access_denied\"}$"
    ) as refused:
        await external_system.update(finished, context())
    assert servicenow.issued == 0
    assert "S3CRET" not in str(refused.value)
