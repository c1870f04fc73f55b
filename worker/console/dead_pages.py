"""The pages of dead letters: in groups, and one by one."""

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver.environment import SettingsError
from worker import notes
from worker.changes import Change
from worker.console.chosen import LOOK_FAR, PAGE, Chosen, look_of, operator_of, words_of
from worker.console.comparison import side_by_side
from worker.console.page import Form, change, one, page, problem, visitor_of
from worker.elsewhere import PayloadElsewhere
from worker.groups import grouped
from worker.letter import Filter


async def groups(request: Request) -> Response:
    """Dead letters in groups of one handler and one error, the largest first."""
    operator, chosen = operator_of(request), Chosen.of(words_of(request))
    try:
        letters, looked = await operator.newest_letters(Filter.of(chosen.words), look_of(request))
    except SettingsError as error:
        return await problem(request, 400, str(error))
    found = [group.summary() for group in grouped(letters)]
    noted = await notes.read(request.state.redis, request.state.keys, [group["group"] for group in found])
    return await page(
        request,
        "groups.html",
        groups=found,
        noted=noted,
        looked=looked,
        words=chosen.words,
        total=await operator.count(),
    )


@change
async def note(request: Request, form: Form) -> Response:
    """Note something of a group, or who looks after it."""
    state, group, text, owner = request.state, one(form, "group"), one(form, "text"), one(form, "owner")
    if re.fullmatch("[0-9a-f]{8}", group) is None:
        return await problem(request, 400, "group: expected eight digits")
    who = visitor_of(request).name
    await notes.write(state.redis, state.keys, group, text, owner, who)
    await Change("note", who, text[:300], f"group {group}", "console").tell(state.redis, state.keys, owner=owner)
    return RedirectResponse(f"/dead/letters?group={group}", 303)


async def letters(request: Request) -> Response:
    """Dead letters one by one, newest first."""
    operator, chosen = operator_of(request), Chosen.of(words_of(request))
    start = int(number) if (number := request.query_params.get("from", "")).isdecimal() and len(number) < 8 else 0  # noqa: PLR2004
    total = await operator.count()
    look = look_of(request) if chosen.words else min(start + PAGE + 1, LOOK_FAR)  # without a filter all match
    try:
        found, looked = await operator.newest_letters(Filter.of(chosen.words), look)
    except SettingsError as error:
        return await problem(request, 400, str(error))
    more = start + PAGE if len(found) > start + PAGE else None
    return await page(
        request,
        "letters.html",
        letters=found[start : start + PAGE],
        matching=len(found) if chosen.words else total,
        looked=looked if chosen.words else total,
        words=chosen.words,
        start=start,
        more=more,
        total=total,
        noted=await notes.read(request.state.redis, request.state.keys, filter(None, [chosen.words.get("group")])),
    )


async def letter(request: Request) -> Response:
    """One dead letter with its payload; a conflict beside what came first."""
    operator = operator_of(request)
    found = await operator.letter(request.path_params["letter"])
    if found is None:
        return await problem(request, 404, "no such dead letter: it was replayed or dropped")
    shown, difference, why_not = None, None, ""
    try:
        received = (await operator.with_payload(found)).received()
        first = await operator.received(found.delivery) if found.kind == "conflict" else None
    except PayloadElsewhere as error:
        received, first, why_not = None, None, str(error)
    if received:
        shown = request.state.masking.shown(received)
        if first:
            difference = side_by_side(*(request.state.masking.pretty(event) for event in (first, received)))
    elif not why_not:
        why_not = "this is no delivery of the kit"
    return await page(request, "letter.html", letter=found, shown=shown, why_not=why_not, difference=difference)
