"""After a pause without any event: are kept connections still usable, and are many events at once accepted?"""

import asyncio
from dataclasses import dataclass, field

from examples.sender.check.answers import at_once
from examples.sender.check.context import CheckContext, said
from examples.sender.check.findings import Failed, Warned, check
from examples.sender.http.reply import Reply
from examples.sender.http.wire import Connection

_KEPT = 5  # connections


@dataclass(slots=True)
class Pause:
    """The answers after a pause of so many seconds without any event."""

    seconds: float
    fresh: list[Reply] = field(default_factory=list)
    """The answers to many events at once, each on a new connection: sent first, they wake the receiver."""
    reused: list[Reply] = field(default_factory=list)
    closed: int = 0
    """Kept connections that the receiver closed during the pause."""
    idle: float = 0.0
    """How long those were idle that are used again: as long as the many events took, too."""


async def pauses(context: CheckContext) -> list[Pause]:
    """Every pause of `limits.idle`, all from the same start. Both checks share them, because they take long."""
    if context.pauses is None:
        context.pauses = asyncio.create_task(_made(context))
    made: list[Pause] = await context.pauses
    return made


async def _made(context: CheckContext) -> list[Pause]:
    kept = {seconds: await _opened(context) for seconds in sorted(context.limits.idle)}
    begun = asyncio.get_running_loop().time()
    made = []
    for seconds, connections in kept.items():
        await asyncio.sleep(begun + seconds - asyncio.get_running_loop().time())
        pause = Pause(seconds)
        pause.fresh = await context.together(context.message() for _ in range(context.limits.several))
        open_ones = [connection for connection in connections if not connection.closed]
        pause.closed = len(connections) - len(open_ones)
        pause.idle = round(asyncio.get_running_loop().time() - begun, 1)
        pause.reused = await asyncio.gather(*map(context.post_on, open_ones))
        for connection in connections:
            connection.close()
        made.append(pause)
    return made


async def _opened(context: CheckContext) -> list[Connection]:
    """Connections that have served one event and can be used again."""
    opened = await asyncio.gather(*(context.connect() for _ in range(_KEPT)))
    await asyncio.gather(*map(context.post_on, opened))
    for connection in opened:
        if not connection.usable:
            connection.close()
    return [connection for connection in opened if connection.usable]


@check(
    "Accepts an event on a connection that was idle",
    likely="likely",
    glartek="may keep its connections, as HTTP clients do: what it sends on one that is dead fails or times out",
    mend="Keep idle connections open for longer than the proxy in front of you does (60 s in most; keepAliveTimeout in "
    "Node, --timeout-keep-alive in uvicorn, keepalive in gunicorn), and close them properly.",
    takes=lambda context: max(context.limits.idle) + 2 * context.alone,
)
async def idle_connections(context: CheckContext) -> str:
    made = await pauses(context)
    seen = "; ".join(f"after {pause.idle:g} s idle: {_told(pause)}" for pause in made)
    bad = [reply for pause in made for reply in pause.reused if not context.fine(reply)]
    if bad:
        raise Failed(seen, mend="" if any(reply.error for reply in bad) else "See why it answers so after a pause.")
    if any(pause.closed for pause in made):
        raise Warned(f"{seen}. An event that is sent at that very moment is lost on the way")
    return seen


def _told(pause: Pause) -> str:
    parts = [f"{pause.closed} closed by the receiver"] if pause.closed else []
    parts += [said(pause.reused)] if pause.reused else []
    return ", ".join(parts) or "none were kept: it says Connection: close, which is allowed"


@check(
    "Answers many events at once after a pause",
    likely="likely",
    glartek="sends when people work: nothing for a night, then many events in one moment",
    mend="Keep the receiver running: no scaling to zero, no pool that starts empty; or let it start within seconds, "
    "and queue events meanwhile.",
    timed=True,
    takes=lambda context: 2 * context.alone,
)
async def burst_after_a_pause(context: CheckContext) -> str:
    made = await pauses(context)
    try:
        return "; ".join(
            at_once(context, pause.fresh, burst_after_a_pause.mend, f" after {pause.seconds:g} s") for pause in made
        )
    except Failed:
        context.pauses = None  # make a new pause if the check is repeated
        raise
