"""The pages of dead letters: in groups, one by one, what a replay would do, and what is under way."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver.environment import SettingsError
from receiver.figures import read as read_figures
from worker import bulk, notes
from worker.changes import Change
from worker.console.page import Form, change, one, page, problem, visitor_of
from worker.console.runs import Run
from worker.dead_letters import Operator
from worker.elsewhere import PayloadElsewhere
from worker.letter import DeadLetter, Filter, grouped
from worker.reports import surprises

PAGE = 50
LOOK, LOOK_FAR = 10_000, 200_000
"""Dead letters that one page looks at, the newest; and when somebody asks for more."""
MOST_LINES = 600
"""Lines of two payloads that are compared."""
SLOW = 60
"""Replays in a minute that a form proposes for more than a page of them."""
NAMES = tuple(one.name for one in fields(Filter))


class Chosen(NamedTuple):
    """Which dead letters an address or a form means: these ids, or all that match the words."""

    ids: Sequence[str]
    words: Mapping[str, str]

    @classmethod
    def of(cls, given: Form) -> "Chosen":
        ids = [dead_id for dead_id in given.get("id", []) if dead_id][:PAGE]
        return cls(ids, {} if ids else {name: one(given, name) for name in NAMES if one(given, name)})

    @property
    def about(self) -> str:
        """One line, for logs and pages."""
        if self.ids:
            return f"{len(self.ids)} chosen one by one"
        return ", ".join(f"{name} {value}" for name, value in self.words.items()) or "all"


def _given(request: Request) -> dict[str, list[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}


def _look(request: Request) -> int:
    return LOOK_FAR if request.query_params.get("look") == "far" else LOOK


async def groups(request: Request) -> Response:
    """By handler and error, the largest first."""
    operator, chosen = _operator(request), Chosen.of(_given(request))
    try:
        letters, looked = await operator.newest_letters(Filter.of(chosen.words), _look(request))
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
    """One by one, newest first."""
    operator, chosen = _operator(request), Chosen.of(_given(request))
    start = int(number) if (number := request.query_params.get("from", "")).isdecimal() and len(number) < 8 else 0  # noqa: PLR2004
    total = await operator.count()
    look = _look(request) if chosen.words else min(start + PAGE + 1, LOOK_FAR)  # without a filter all match
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
    operator = _operator(request)
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


class Line(NamedTuple):
    """A line of a comparison; `same` is how many are left out, because they are alike."""

    left: str = ""
    right: str = ""
    differs: bool = False
    same: int = 0


def side_by_side(left: Sequence[str], right: Sequence[str]) -> list[Line]:
    """What differs in two payloads, beside each other, with three lines before and after it."""
    left, right = left[:MOST_LINES], right[:MOST_LINES]
    rows: list[Line] = []
    shown = 0
    for group in difflib.SequenceMatcher(None, left, right).get_grouped_opcodes(3):
        rows += _left_out(group[0][1] - shown)
        for tag, at, until, at_right, until_right in group:
            here, there = left[at:until], right[at_right:until_right]
            rows += [Line(*pair, tag != "equal") for pair in zip_longest(here, there, fillvalue="")]
        shown = group[-1][2]
    return rows + _left_out(len(left) - shown)


def _left_out(count: int) -> list[Line]:
    return [Line(same=count)] if count else []


async def preview(request: Request) -> Response:
    """What a replay or a drop of these would do; the form that begins it."""
    operator, chosen = _operator(request), Chosen.of(_given(request))
    verb = request.query_params.get("verb", "")
    try:
        found, looked = await _preview_of(operator, chosen, _look(request))
    except SettingsError as error:
        return await problem(request, 400, str(error))
    if verb not in bulk.ACTS:
        return await problem(request, 400, "verb: expected replay or drop")
    running = (await read_figures(request.state.redis, request.state.keys)).handlers()
    rows: list[dict[str, Any]] = [row | {"surprises": surprises(row)} for row in bulk.preview(found, running)]
    return await page(
        request,
        "preview.html",
        verb=verb,
        rows=rows,
        count=len(found),
        looked=looked,
        total=await operator.count(),
        chosen=chosen,
        now=datetime.now(UTC).isoformat(),
        per_minute=SLOW if len(found) > PAGE else 0,
    )


async def _preview_of(operator: Operator, chosen: Chosen, look: int) -> tuple[list[DeadLetter], int]:
    if not chosen.ids:
        return await operator.newest_letters(Filter.of(chosen.words), look)
    found = await _by_ids(operator, chosen.ids)
    return found, len(found)


async def _by_ids(operator: Operator, ids: Sequence[str]) -> list[DeadLetter]:
    letters = [await operator.letter(dead_id) for dead_id in ids]
    return [letter for letter in letters if letter is not None]


@change
async def run(request: Request, form: Form) -> Response:
    """Begin to replay or drop what was previewed: what has died since is not meant."""
    chosen, verb, reason = Chosen.of(form), one(form, "verb"), one(form, "why")[:300]
    if verb not in bulk.ACTS:
        return await problem(request, 400, "verb: expected replay or drop")
    if len(chosen.ids) != 1 and not reason:
        return await problem(request, 400, "a reason is needed where it is many")
    try:
        which, until = Filter.of(chosen.words), datetime.fromisoformat(one(form, "until"))
        per_minute = float(one(form, "per_minute") or 0)
    except (SettingsError, ValueError) as error:
        return await problem(request, 400, str(error))
    if not 0 <= per_minute < 1_000_000:  # noqa: PLR2004 - a number, and no NaN
        return await problem(request, 400, "per_minute: expected a number of replays in a minute, 0 for no limit")
    select = partial(_selected, chosen.ids, which, until)
    begun = Run("", verb, visitor_of(request).name, reason, chosen.about, per_minute)
    request.state.runs.start(request.state.redis, request.state.keys, begun, select)
    return RedirectResponse(f"/runs/{begun.id}", 303)


async def _selected(ids: Sequence[str], which: Filter, until: datetime, operator: Operator) -> list[DeadLetter]:
    if ids:
        return await _by_ids(operator, ids)
    return [letter async for letter in operator.letters(which) if letter.at <= until]


async def runs(request: Request) -> Response:
    """Those of this console, newest first."""
    return await page(request, "runs.html", runs=request.state.runs.all())


async def show_run(request: Request) -> Response:
    """One of them, and how far it is."""
    found = request.state.runs.get(request.path_params["run"])
    if found is None:
        return await problem(request, 404, "no such run: the console was started anew; its log tells of it")
    return await page(request, "run.html", run=found)


@change
async def stop_run(request: Request, form: Form) -> Response:  # noqa: ARG001 - an endpoint's signature
    """Stop it: what was not reached stays a dead letter."""
    found = request.state.runs.get(request.path_params["run"])
    if found is not None and found.task is not None:
        found.task.cancel()
    return RedirectResponse(f"/runs/{request.path_params['run']}", 303)


def _operator(request: Request) -> Operator:
    return Operator(request.state.redis, request.state.keys)
