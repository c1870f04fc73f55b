"""After a while without any event: are connections that were kept still good, and are many events at once?"""

import asyncio
from dataclasses import dataclass, field

from examples.sender.check.answers import at_once
from examples.sender.check.bench import Bench, said
from examples.sender.check.findings import Failed, Warned, check
from examples.sender.http.reply import Reply
from examples.sender.http.wire import Connection

_KEPT = 5  # connections


@dataclass(slots=True)
class Pause:
    """What came after so many seconds without any event."""

    seconds: float
    fresh: list[Reply] = field(default_factory=list)
    """The answers to many events at once, each on a connection of its own: they come first, and wake the receiver."""
    reused: list[Reply] = field(default_factory=list)
    closed: int = 0
    """Kept connections that the receiver had closed meanwhile."""


async def pauses(bench: Bench) -> list[Pause]:
    """Every pause of `limits.idle`, counted from one beginning. Both checks judge the same ones, for they take long."""
    if bench.pauses is None:
        bench.pauses = asyncio.create_task(_made(bench))
    made: list[Pause] = await bench.pauses
    return made


async def _made(bench: Bench) -> list[Pause]:
    kept = {seconds: await _opened(bench) for seconds in sorted(bench.limits.idle)}
    begun = asyncio.get_running_loop().time()
    made = []
    for seconds, connections in kept.items():
        await asyncio.sleep(begun + seconds - asyncio.get_running_loop().time())
        pause = Pause(seconds)
        open_ones = [connection for connection in connections if not connection.closed]
        pause.closed = len(connections) - len(open_ones)
        pause.fresh = await bench.together(bench.message() for _ in range(bench.limits.several))
        pause.reused = await asyncio.gather(*map(bench.post_on, open_ones))
        for connection in connections:
            connection.close()
        made.append(pause)
    return made


async def _opened(bench: Bench) -> list[Connection]:
    """Connections that have served one event and may be used again."""
    opened = await asyncio.gather(*(bench.connect() for _ in range(_KEPT)))
    await asyncio.gather(*map(bench.post_on, opened))
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
    takes=lambda bench: max(bench.limits.idle) + 2 * bench.alone,
)
async def idle_connections(bench: Bench) -> str:
    made = await pauses(bench)
    seen = "; ".join(f"after {pause.seconds:g} s idle: {_told(pause)}" for pause in made)
    bad = [reply for pause in made for reply in pause.reused if not bench.fine(reply)]
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
    mend="Keep what answers awake: no scaling to zero, no pool that starts empty; or let it wake within seconds, "
    "and queue what comes meanwhile.",
    timed=True,
    takes=lambda bench: 2 * bench.alone,
)
async def burst_after_a_pause(bench: Bench) -> str:
    made = await pauses(bench)
    try:
        return "; ".join(
            at_once(bench, pause.fresh, burst_after_a_pause.mend, f" after {pause.seconds:g} s") for pause in made
        )
    except Failed:
        bench.pauses = None  # another pause, should it be judged again
        raise
