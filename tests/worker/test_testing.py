"""`worker.testing`: what a customer's own tests are written with."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from receiver.content import Unreadable
from worker import Context, Event, GiveUp, RetryLater, Skip
from worker.testing import make_context, make_event, run


def test_an_event_is_made_of_a_type_with_fields_of_ones_own() -> None:
    """A sample of the kit, fields set or taken out by their path, lists by number."""
    event = make_event("action.created", {"action.priority": "High", "action.title": None, "more.deep": [1]})
    assert event.action is not None
    assert (event.type, event.action.priority, event.action.title) == ("action.created", "High", None)
    assert event.payload["more"] == {"deep": [1]}
    numbered = make_event("work_order.completed", {"work_order.assignees.0.name": "Ana"})
    assert numbered.work_order is not None
    assert numbered.work_order.assignees is not None
    assert numbered.work_order.assignees[0].name == "Ana"


def test_an_event_is_made_of_a_payload_a_body_or_a_file(tmp_path: Path) -> None:
    """Whatever a test has at hand."""
    payload = {"id": "e1", "type": "action.solved", "action": {"id": "A-12"}}
    file = tmp_path / "real.json"
    file.write_text('{"id": "e1", "type": "action.solved", "action": {"id": "A-12"}}')
    events = [make_event(payload), make_event(file.read_bytes()), make_event(file), make_event(str(file))]
    assert {(event.id, event.subject and event.subject.id) for event in events} == {("e1", "A-12")}


def test_what_is_no_event_says_so(tmp_path: Path) -> None:
    """A type that is none, a body that is no JSON, a file that is not there."""
    with pytest.raises(LookupError, match=r"no event type 'action\.create'; expected one of .*action\.created"):
        make_event("action.create")
    with pytest.raises(Unreadable):
        make_event(b"no JSON")
    with pytest.raises(FileNotFoundError):
        make_event(tmp_path / "none.json")


async def act(event: Event, ctx: Context) -> None:
    """Does what the event says."""
    match event.payload.get("do"):
        case "skip":
            raise Skip("nothing to do")
        case "wait":
            raise RetryLater(60, "busy")
        case "give up":
            raise GiveUp("no use")
        case "fail":
            raise ValueError("wrong")
        case "end":
            raise SystemExit(3)
        case "sleep":
            await asyncio.sleep(60)
        case "cancel":
            raise asyncio.CancelledError
    for name in ("one", "two"):
        answer = await ctx.http.post(f"https://x.example/{name}", json={"n": name}, headers={"X-Key": "k"})
        answer.raise_for_status()


@pytest.mark.parametrize(
    ("do", "state", "reason", "seconds"),
    [
        ("skip", "skipped", "nothing to do", None),
        ("wait", "retry", "busy", 60),
        ("give up", "dead", "no use", None),
        ("fail", "retry", "ValueError: wrong", None),
        ("end", "retry", "SystemExit: 3", None),
        ("cancel", "retry", "CancelledError", None),
    ],
)
async def test_the_result_is_what_the_worker_would_make_of_it(
    do: str, state: str, reason: str, seconds: float | None
) -> None:
    """State, reason, the wait that was asked for, and where it failed."""
    result = await run(act, make_event({"type": "action.created", "do": do}))
    assert (result.state, result.reason, result.seconds) == (state, reason, seconds)
    assert result.error is not None
    assert result.at == "" if state == "skipped" else result.at.startswith("tests/worker/test_testing.py:")


async def test_who_ends_a_test_ends_it() -> None:
    """A time limit of the test, or Ctrl-C, is no result of the handler."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run(act, make_event({"type": "action.created", "do": "sleep"})), 0.01)


async def test_requests_are_recorded_and_answered_in_turn() -> None:
    """Method, URL, headers and body; nothing leaves the process."""
    event = make_event("action.created")
    result = await run(act, event)
    assert result.state == "done"
    assert [(sent.method, sent.url, sent.json) for sent in result.requests] == [
        ("POST", "https://x.example/one", {"n": "one"}),
        ("POST", "https://x.example/two", {"n": "two"}),
    ]
    assert result.requests[0].headers["x-key"] == "k"
    failing = await run(act, event, answer=[200, 503])
    assert (failing.state, len(failing.requests)) == ("retry", 2)
    made: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        made.append(request)
        return httpx2.Response(204)

    assert (await run(act, event, make_context(answer=answer))).state == "done"
    assert len(made) == 2


async def keeps(event: Event, ctx: Context) -> None:
    await ctx.redis.set(f"{ctx.prefix}last", event.type)


async def test_a_handler_that_needs_redis_is_told_to_ask_for_it(redis: "Redis") -> None:
    """Without one the result says what to do; with the fixture it is a real one."""
    event = make_event("action.created")
    assert "make_context(redis=…)" in (await run(keeps, event)).reason
    assert (await run(keeps, event, make_context(redis=redis))).state == "done"
    assert await redis.get("test:last") == b"action.created"


async def test_a_handler_can_be_tried_against_the_stand_ins(stand_ins: str, http: httpx2.AsyncClient) -> None:
    """Requests are sent and recorded alike, and the stand-in tells what arrived."""

    async def update(event: Event, ctx: Context) -> None:
        order: Any = event.payload["work_order"]
        answer = await ctx.http.post(f"{stand_ins}/control/external", json={"answers": [503]})
        answer.raise_for_status()
        (await ctx.http.put(f"{stand_ins}/api/work-orders/{order['id']}", json={})).raise_for_status()

    result = await run(update, make_event("work_order.completed"), make_context(http=http))
    assert (result.state, len(result.requests)) == ("retry", 2)
    assert "503" in result.reason
