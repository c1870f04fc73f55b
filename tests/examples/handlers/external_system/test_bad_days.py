"""The shipped targets against systems that have a bad day."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from examples.handlers import external_system
from examples.handlers.external_system import TargetUnavailable
from examples.stand_ins.erp import Erp
from examples.stand_ins.orders import Orders
from examples.stand_ins.sap import Sap
from examples.stand_ins.servicenow import ServiceNow
from tests.examples.handlers.external_system.conftest import NOON
from worker import Context, Event, GiveUp, Skip

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.anyio
MakeContext = Callable[..., Context]
MakeEvent = Callable[..., Event]
RECORD = "9d385017c611228701d22104cc95c371"


# ── sessions ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_updates_side_by_side_have_a_session_each(sap: Sap, context: MakeContext, sample: MakeEvent) -> None:
    """SAP's token is its cookie's alone: no update sends the token of one session with the cookie of another."""
    sap.orders_kept |= {str(code): {} for code in range(1, 9)}
    sap.bodies_wait_for = 8
    for _ in range(2):
        updates = [
            external_system.update(sample("work_order.completed", id=f"wo_{code}", code=code), context(key=f"k{code}"))
            for code in range(1, 9)
        ]
        await asyncio.gather(*updates)
    assert [status for _, status in sap.seen if status >= 400] == []
    assert len(sap.sessions) <= 8  # a session is used again, so that SAP is not filled with them


async def test_a_session_that_ends_all_the_time_is_an_ordinary_failure(
    sap: Sap, context: MakeContext, sample: MakeEvent
) -> None:
    """Each reading begins a new session; after three of them the worker's back-off takes over."""
    sap.after_read += [sap.sessions.clear] * 3
    with pytest.raises(TargetUnavailable):
        await external_system.update(sample("work_order.completed", code="4000123"), context())
    assert sap.seen == [("GET", 200), ("PATCH", 403)] * 3


async def test_without_a_token_nothing_is_sent(sap: Sap, context: MakeContext, sample: MakeEvent) -> None:
    """A GET whose answer has no CSRF token is a failure for now; the PATCH would be refused for good."""
    sap.gives_tokens = False
    with pytest.raises(TargetUnavailable, match="the external system's answer has no x-csrf-token"):
        await external_system.update(sample("work_order.completed", code="4000123"), context())
    assert sap.seen == [("GET", 200)]


# ── answers that are none ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_login_page_of_sap_is_no_answer(sap: Sap, context: MakeContext, sample: MakeEvent, method: str) -> None:
    """HTML with 200 is neither an order nor an update: it is tried again."""
    sap.orders = Orders(answers=deque([200]), page=True, method=method)
    event = sample("work_order.completed", code="4000123")
    with pytest.raises(TargetUnavailable, match="the external system answered 200 with text/html"):
        await external_system.update(event, context())
    assert sap.orders_kept["4000123"] == {"MaintenanceOrderDesc": "old"}
    await external_system.update(event, context(attempt=2))
    assert "MaintOrdBasicEndDateTime" in sap.orders_kept["4000123"]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_instance_of_servicenow_that_hibernates_is_tried_again(
    servicenow: ServiceNow, context: MakeContext, sample: MakeEvent, method: str
) -> None:
    """Its page is not "no record" for the lookup, and not "updated" for the update."""
    servicenow.orders = Orders(answers=deque([200]), page=True, method=method)
    event = sample("work_order.completed", code="WO0012")
    with pytest.raises(TargetUnavailable, match="the external system answered 200 with text/html"):
        await external_system.update(event, context())
    await external_system.update(event, context(attempt=2))
    assert servicenow.records[RECORD]["state"] == "7"


async def test_json_that_is_no_record_is_tried_again(
    servicenow: ServiceNow, context: MakeContext, sample: MakeEvent
) -> None:
    """ServiceNow's answers have a `result`; a proxy's {"error": …} with 200 has none."""
    servicenow.orders = Orders(answers=deque([200]), method="PATCH")
    with pytest.raises(TargetUnavailable, match="the external system answered 200 with application/json"):
        await external_system.update(sample("work_order.completed", code="WO0012"), context())


@pytest.mark.parametrize("status", [200, 302])
async def test_a_page_instead_of_an_answer_is_tried_again(
    erp: Erp, context: MakeContext, sample: MakeEvent, status: int
) -> None:
    """A REST API's update is done when its answer is empty or JSON; a redirect leads to a login page."""
    erp.orders = Orders(answers=deque([status]), page=True)
    with pytest.raises(TargetUnavailable, match=f"the external system answered {status} with text/html"):
        await external_system.update(sample("work_order.completed"), context())
    await external_system.update(sample("work_order.completed"), context(attempt=2))
    assert erp.work_orders["wo_5d2c81"]["status"] == "COMPLETED"


# ── locked just now ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_order_that_a_person_has_open_is_tried_again(
    sap: Sap, context: MakeContext, sample: MakeEvent
) -> None:
    """423 passes; it says nothing of the system, so that the circuit stays closed for the others."""
    sap.locked.add("4000123")
    event = sample("work_order.completed", code="4000123")
    for attempt in range(1, 8):
        with pytest.raises(TargetUnavailable, match="the external system answered 423"):
            await external_system.update(event, context(attempt=attempt))
    sap.locked.clear()
    await external_system.update(event, context(attempt=8))
    assert "MaintOrdBasicEndDateTime" in sap.orders_kept["4000123"]


@pytest.mark.parametrize("status", [409, 423])
async def test_a_conflict_is_tried_again_where_it_passes(
    erp: Erp, context: MakeContext, sample: MakeEvent, status: int
) -> None:
    """409 is what an API says while it still works on the same idempotency key."""
    erp.orders.answers.append(status)
    with pytest.raises(TargetUnavailable, match=f"the external system answered {status}"):
        await external_system.update(sample("work_order.completed"), context())
    await external_system.update(sample("work_order.completed"), context(attempt=2))


async def test_a_conflict_is_final_where_it_does_not_pass(
    servicenow: ServiceNow, context: MakeContext, sample: MakeEvent
) -> None:
    """ServiceNow's module does not list 409: it stays one for a person to look at."""
    servicenow.orders.answers.append(409)
    with pytest.raises(GiveUp, match="409"):
        await external_system.update(sample("work_order.completed", code="WO0012"), context())


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_token_without_an_expiry_is_kept(
    servicenow: ServiceNow, context: MakeContext, sample: MakeEvent
) -> None:
    """`"expires_in": null`: it is good until it is refused."""
    servicenow.expires_in = None
    for attempt in (1, 2):
        await external_system.update(sample("work_order.completed", code="WO0012"), context(attempt=attempt))
    assert servicenow.issued == 1
    servicenow.tokens.clear()
    await external_system.update(sample("work_order.completed", code="WO0012"), context(attempt=3))
    assert servicenow.issued == 2


# ── ids and texts ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "code",
    [
        *("a/b", "a\\b", ".", "..", "...", ". .", "a/../../secret", "/", "a\x00b", "a\nb", "a\x7fb", "a\x85b"),
        *("a%2Fb", "a%2fb", "a%5Cb", "%2e%2e", "a%2F..%2F..%2Fsecret", "a%252F..%252Fsecret", "%00", "a%0ab", "%c0%af"),
        *("..;", "..;x=y", "%2e%2e%3b", "", "   ", "x" * 501),
    ],
)
async def test_an_id_that_could_lead_elsewhere_is_a_dead_letter(
    sap: Sap, context: MakeContext, sample: MakeEvent, code: str
) -> None:
    """Slashes, dot segments and controls, encoded or not: what a server on the way may resolve is not sent."""
    with pytest.raises(GiveUp, match=r"^the event's code is no id that the target's URL can take"):
        await external_system.update(sample("work_order.completed", code=code), context())
    assert sap.seen == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [("x" * 101, "is longer than 100"), ("\U0001f600" * 51, "is longer than 100"), ("a\ud800", "half a character")],
)
async def test_a_text_that_the_target_cannot_take_is_a_dead_letter_that_names_the_field(
    servicenow: ServiceNow, context: MakeContext, sample: MakeEvent, text: str, reason: str
) -> None:
    """ServiceNow would cut it, and a lone surrogate has no UTF-8 form; its length is counted as Java counts it."""
    with pytest.raises(GiveUp, match=f"correlation_id.*{reason}"):
        await external_system.update(sample("work_order.completed", code="WO0012", id=text), context())
    assert servicenow.seen == []


async def test_a_description_is_cut_where_sap_ends_it(sap: Sap, context: MakeContext, sample: MakeEvent) -> None:
    """SAP counts 40 UTF-16 units; no character is halved."""
    await external_system.update(
        sample("work_order.completed", code="4000123", name="x" + "\U0001f600" * 40), context()
    )
    assert sap.orders_kept["4000123"]["MaintenanceOrderDesc"] == "x" + "\U0001f600" * 19


async def test_half_a_character_that_is_not_sent_stands_in_nobodys_way(
    sap: Sap, context: MakeContext, sample: MakeEvent
) -> None:
    """A comment with half an emoji is no reason to leave out an order's times."""
    tasks = [{"title": "t", "response": {"comment": "nice \ud83d"}}]
    await external_system.update(sample("work_order.completed", code="4000123", tasks=tasks), context())
    assert "MaintOrdBasicEndDateTime" in sap.orders_kept["4000123"]


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────


def at(event_of: MakeEvent, occurred_at: Any, status: str) -> Event:
    order = {"id": "wo_1", "status": status}
    return event_of({"id": status, "type": "work_order.completed", "occurred_at": occurred_at, "work_order": order})


@pytest.mark.parametrize(
    "newer", [1793707200.5, "1793707200500", "2026-11-03t12:00:00.5z", "20261103T120000Z", "/Date(1793707200500)/"]
)
async def test_an_event_is_newer_however_its_time_is_written(
    erp: Erp, context: MakeContext, event_of: MakeEvent, newer: Any
) -> None:
    """The stale guard reads times as the event does: a later update is not skipped for its spelling."""
    await external_system.update(at(event_of, "2026-11-03T11:59:00Z", "older"), context(key="a", received_at=NOON))
    received = NOON - timedelta(minutes=2)  # it came before, so that nothing but its time makes it the newer one
    await external_system.update(at(event_of, newer, "newer"), context(key="b", received_at=received))
    assert erp.work_orders["wo_1"]["status"] == "newer"


@pytest.mark.parametrize("never", ["9999-12-31T00:00:00Z", "9000-01-01T00:00:00Z", "2031-01-01T00:00:00Z"])
async def test_a_time_in_the_future_silences_no_target(
    erp: Erp, context: MakeContext, event_of: MakeEvent, never: str
) -> None:
    """An event that is more than five minutes ahead counts as of its reception: what comes a second later is newer."""
    await external_system.update(at(event_of, never, "wrong clock"), context(key="a", received_at=NOON))
    later = NOON + timedelta(seconds=1)
    await external_system.update(at(event_of, later.isoformat(), "newer"), context(key="b", received_at=later))
    assert erp.work_orders["wo_1"]["status"] == "newer"


async def test_a_clock_that_is_a_little_ahead_is_believed(erp: Erp, context: MakeContext, event_of: MakeEvent) -> None:
    """Up to five minutes: its events keep their order, however they arrive, and keep older ones of others out."""
    times = {"newer": 240, "older": 239, "newest": 241}  # seconds ahead of the first reception
    for number, (status, ahead) in enumerate(times.items()):
        received = NOON + timedelta(milliseconds=number)
        event = at(event_of, (NOON + timedelta(seconds=ahead)).isoformat(), status)
        told = pytest.raises(Skip, match="older than the update of 2026-11-03T12:04:00Z")
        with told if status == "older" else nullcontext():
            await external_system.update(event, context(key=status, received_at=received))
    assert erp.work_orders["wo_1"]["status"] == "newest"


async def test_a_time_in_the_future_that_an_earlier_version_kept_silences_no_target(
    erp: Erp, context: MakeContext, event_of: MakeEvent
) -> None:
    """What is in Redis already counts in the same way."""
    ctx = context(received_at=NOON)
    kept = f"253402214400000000 {int((NOON - timedelta(hours=1)).timestamp() * 1e6)}"
    await ctx.redis.execute_command("HSET", "glartek:external:generic-rest:wo_1:sent", "old", kept)
    await external_system.update(at(event_of, NOON.isoformat(), "newer"), ctx)
    assert erp.work_orders["wo_1"]["status"] == "newer"
