"""The pages of deliveries: the list, and one with its whole way."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver import events
from receiver.environment import SettingsError
from worker.changes import AUDIT, Change
from worker.console.deliveries import STATES, Query, WrongQuery, look
from worker.console.page import Form, change, one, page, problem, visitor_of
from worker.console.payload import Shown
from worker.dead_letters import Operator
from worker.elsewhere import PayloadElsewhere
from worker.story import find, story_of
from worker.waiting import in_words


async def deliveries(request: Request) -> Response:
    """Newest first, filtered; an id that only one has leads to that one."""
    state, query = request.state, Query.of(request.query_params)
    try:
        found = await look(state.redis, state.keys, state.masking, query, request.query_params.get("after", ""))
    except WrongQuery as error:
        return await problem(request, 400, str(error))
    if query.key and not found.rows and (elsewhere := await _known(request, query.key)):
        return RedirectResponse(f"/deliveries/{elsewhere}", 303)
    return await page(
        request,
        "deliveries.html",
        query=query,
        found=found,
        types=list(events.BY_NAME),
        states=STATES,
        more=query.words() | {"after": found.after or ""},
    )


async def _known(request: Request, name: str) -> str | None:
    """The id of the one delivery that is called so, however old."""
    try:
        story = await find(Operator(request.state.redis, request.state.keys), request.state.rule, events.storable(name))
    except SettingsError:  # several begin so
        return None
    return story["delivery"] if story else None


async def delivery(request: Request) -> Response:
    """One delivery: what is known of it, each handler's attempts, its payload."""
    operator = Operator(request.state.redis, request.state.keys)
    story = await story_of(operator, request.path_params["delivery"])
    if story is None:
        return await problem(request, 404, "no such delivery is remembered")
    shown, why_not = await _payload(request, operator, story["delivery"])
    waits = {name: in_words(told["waits"]) for name, told in story["handlers"].items() if told["waits"]}
    said = request.query_params.get("said", "")
    return await page(
        request,
        "delivery.html",
        story=story,
        shown=shown,
        why_not=why_not,
        waits=waits,
        said=SAID.get(said, ""),
        audit=AUDIT,
    )


SAID = {
    "replayed": "It runs again.",
    "gone": "Nothing was replayed: it runs already, was replayed by somebody else, or its payload is no longer kept.",
}
"""What came of a change, by a word in the address, so that an address can make the page say nothing else."""


async def _payload(request: Request, operator: Operator, name: str) -> tuple[Shown | None, str]:
    try:
        received = await operator.received(name)
    except PayloadElsewhere as error:
        return None, str(error)
    if received is None:
        return None, "no longer kept (KEEP_PAYLOADS, KEEP_PAYLOADS_BYTES)"
    return request.state.masking.shown(received), ""


@change
async def replay(request: Request, form: Form) -> Response:
    """Run one handler of a delivery again."""
    operator = Operator(request.state.redis, request.state.keys)
    name, handler = request.path_params["delivery"], one(form, "handler")
    story: dict[str, Any] | None = await story_of(operator, name)
    told = story["handlers"].get(handler) if story else None
    if told is None:
        return await problem(request, 404, "no such delivery or handler is remembered")
    reason = one(form, "why")[:300]
    if told["state"] in {"done", "skipped"} and not reason:
        return await problem(request, 400, "a reason is needed to run again what has ended: it may be done twice")
    try:
        replayed = not told["waits"] and await operator.replay_handler(name, handler, told["state"], told["attempts"])
    except PayloadElsewhere as error:
        return await problem(request, 503, str(error))
    change = Change("replay", visitor_of(request).name, reason, f"{name}:{handler}", "console")
    await change.tell(request.state.redis, request.state.keys, state=told["state"], done=int(replayed))
    return RedirectResponse(f"/deliveries/{name}?said={'replayed' if replayed else 'gone'}", 303)
