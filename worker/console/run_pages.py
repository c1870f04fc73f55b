"""The pages of what is done to many dead letters: what it would do, the form that begins it, and what is under way."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from receiver.environment import SettingsError
from receiver.figures import read as read_figures
from worker import bulk
from worker.console.chosen import PAGE, Chosen, look_of, operator_of, words_of
from worker.console.page import Form, change, one, page, problem, visitor_of
from worker.console.runs import Run
from worker.dead_letters import Operator
from worker.letter import DeadLetter, Filter

SLOW = 60
"""Replays in a minute that a form proposes for more than a page of them."""


async def preview(request: Request) -> Response:
    """What a replay or a drop of these would do, with the form that starts it."""
    operator, chosen = operator_of(request), Chosen.of(words_of(request))
    verb = request.query_params.get("verb", "")
    try:
        found, looked = await _preview_of(operator, chosen, look_of(request))
    except SettingsError as error:
        return await problem(request, 400, str(error))
    if verb not in bulk.ACTS:
        return await problem(request, 400, "verb: expected replay or drop")
    running = (await read_figures(request.state.redis, request.state.keys)).handlers()
    rows: list[dict[str, Any]] = [row | {"surprises": bulk.surprises(row)} for row in bulk.preview(found, running)]
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
    """Start to replay or drop what was previewed, without what became a dead letter since."""
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
    """The runs of this console, newest first."""
    return await page(request, "runs.html", runs=request.state.runs.all())


async def show_run(request: Request) -> Response:
    """One run, and how far it is."""
    found = request.state.runs.get(request.path_params["run"])
    if found is None:
        return await problem(request, 404, "no such run: the console was started anew; its log tells of it")
    return await page(request, "run.html", run=found)


@change
async def stop_run(request: Request, form: Form) -> Response:  # noqa: ARG001 - an endpoint's signature
    """Stop one of them; what it has not reached stays a dead letter."""
    found = request.state.runs.get(request.path_params["run"])
    if found is not None and found.task is not None:
        found.task.cancel()
    return RedirectResponse(f"/runs/{request.path_params['run']}", 303)
