"""How a page is made: templates that escape everything, one place for what a page always has, and forms."""

import functools
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from redis.exceptions import ResponseError
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.permissions import refusal
from receiver.visible import visible, visible_lines
from worker.console.access import Visitor, refused_change

HERE = Path(__file__).parent
LONGEST_FORM = 64 << 10
"""Bytes: fifty ids of dead letters and a reason take a tenth."""
Endpoint = Callable[[Request], Awaitable[Response]]
Form = Mapping[str, list[str]]
log = structlog.get_logger()


class Lines(str):
    """A text of several lines, which stay lines on a page."""

    __slots__ = ()


def _finalized(value: Any) -> Any:
    """What every `{{ … }}` goes through before it is escaped: direction marks and control characters become visible."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, Lines):
        return visible_lines(value, 1 << 20)
    return visible(value, 5000) if isinstance(value, str) else value


def _when(at: datetime | str) -> Markup:
    """A time of the console's zone, with all of it for programs and for who points at it."""
    time = (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone()
    iso = time.isoformat(timespec="milliseconds")
    shown = time.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, iso, shown)


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M")


def _short(dead_id: str) -> str:
    """An id as the commands print it."""
    head, colon, tail = dead_id.partition(":")
    return f"{head[:8]}{colon}{tail}"


_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_finalized,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "when": _when,
    "clock": _clock,
    "short": _short,
    "lines": Lines,
    "query": lambda words: urlencode(words, doseq=True),
}


async def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page with its frame."""
    state = request.state
    try:
        dead: int | None = await state.redis.zcard(state.keys.dead)
    except REDIS_ERRORS:
        dead = None
    mark = getattr(state, "mark", "")  # set by `live.kept_up`
    frame = {"visitor": request.scope["visitor"], "path": request.url.path, "dead_count": dead, "mark": mark}
    return HTMLResponse(_environment.get_template(template).render(frame | values), status)


async def problem(request: Request, status: int, line: str) -> Response:
    """A page that says in one line what is wrong."""
    return await page(request, "problem.html", status, line=line)


def trouble_of(error: Exception) -> str:
    """What is to be said of one of `REDIS_ERRORS`: a Redis that is read-only, full or forbids it does answer."""
    if isinstance(error, ResponseError):
        return refusal(error) or f"Redis refuses that ({type(error).__name__}): python -m receiver doctor says why"
    return f"Redis does not answer ({type(error).__name__}): look whether it runs"


def visitor_of(request: Request) -> Visitor:
    visitor: Visitor = request.scope["visitor"]
    return visitor


def change(endpoint: Callable[[Request, Form], Awaitable[Response]]) -> Endpoint:
    """An endpoint that changes something: only for operators, only from a page of the console."""

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Response:
        form = await _form(request)
        if form is None:
            return PlainTextResponse("the form is too large\n", 413)
        visitor = visitor_of(request)
        refused = refused_change(visitor, request.headers, {name: values[0] for name, values in form.items()})
        if refused:
            log.warning("console: change refused", who=visitor.name, path=request.url.path, reason=refused)
            return await problem(request, 403, refused)
        return await endpoint(request, form)

    return guarded


async def _form(request: Request) -> Form | None:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return None
    try:
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=1000)
    except ValueError:  # more than that
        return None
    form: dict[str, list[str]] = {}
    for name, value in fields:
        form.setdefault(name, []).append(value)
    return form


def one(form: Form, name: str) -> str:
    """The first value of a field; "" where there is none."""
    return form.get(name, [""])[0].strip()
