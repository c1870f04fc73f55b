"""A finished Work Order updates the external system (an ERP, a maintenance system): once, and never backwards.

    event ─▶ request (pure) ─▶ breaker ─▶ order ─▶ the target's own calls ─▶ done, or skipped: older than …

Route it as `in_order(external_system.update)`: one event of a Work Order after the other, each once the one before it
has ended, so that a request that the target may still be busy with is not overtaken.

`EXTERNAL_TARGET` names the module that says what is sent where; `targets/` has three to start from, and
`python -m examples.handlers.external_system preview SAMPLE` shows the exact requests before anything is sent.
"""

from contextlib import suppress
from functools import lru_cache

import httpx2

from examples.handlers.external_system import order, request, unsent
from examples.handlers.external_system.breaker import Breaker
from examples.handlers.external_system.session import Anew, Link, Session, TargetUnavailable
from examples.handlers.external_system.settings import ExternalSettings, prepare
from worker import Context, Event, load

__all__ = ["ExternalSettings", "TargetUnavailable", "configure", "update"]
_READINGS = 3  # times that all calls are made, because the record or the session changed in between


@lru_cache(maxsize=1)
def _link() -> Link:
    return prepare(load(ExternalSettings))


def configure() -> None:
    """Read settings and target once, at start. Raises `SettingsError` with one line for each mistake."""
    _link.cache_clear()
    _link()


async def preview(event: Event, idempotency_key: str) -> object:
    """The requests that `update` would make."""
    return await unsent.requests(event, prepare(load(ExternalSettings), shown=True), idempotency_key)


async def update(event: Event, ctx: Context) -> None:
    """Send the Work Order's data to the external system; skipped when a later event did so already.

    An answer that never came is ambiguous: the retry carries the same idempotency key, or the record's ETag, so that
    a target that knows either applies it once.
    """
    link = _link()
    subject, work_order, body = request.build(event, link.target)
    keys = f"{ctx.prefix}external:{link.target.name}"
    breaker = Breaker(ctx.redis, f"{keys}:breaker", link.settings)
    for reading in range(_READINGS):
        cookies = link.idle.pop() if link.idle and reading == 0 else httpx2.Cookies()
        session = Session(link, ctx.http, ctx.idempotency_key, cookies)
        with suppress(Anew):
            async with breaker.passed(), order.kept(event, ctx, f"{keys}:{subject}:sent"):
                await link.target.update(work_order, body, session)
            link.idle.append(cookies)
            ctx.log.info("external system: updated", work_order=subject)
            return
    raise TargetUnavailable(f"the record or the session changed {_READINGS} times while it was updated")
