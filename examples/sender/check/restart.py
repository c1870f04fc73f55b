"""A receiver that is killed under load: no event that it answered 200 may be lost."""

import asyncio
import time

from examples.sender.check.answers import run
from examples.sender.check.context import CheckContext, said
from examples.sender.check.effects import counts, identified
from examples.sender.check.findings import Failed, Skipped, check
from examples.sender.http.message import Message
from examples.sender.http.reply import Reply

_RATE = 60.0  # events per second
_BEFORE = 1.0  # seconds of them before it is killed


@check(
    "Keeps what it accepted when it is killed",
    likely="certain",
    glartek="offers no way to ask for an event again: a deployment, a crash or an out-of-memory kill then loses events "
    "that were answered 200",
    mend="Answer only after the event is on disk (a queue with fsync, a committed row). Work deferred until after "
    "the answer (BackgroundTasks, setImmediate, a thread, a queue in memory) is lost with the process.",
    takes=lambda context: (
        _BEFORE + 2.0 + context.limits.effects_settle if context.commands.restart and context.count else 0.0
    ),
)
async def keeps_what_it_accepted(context: CheckContext) -> str:
    if not context.commands.restart:
        raise Skipped("needs --restart-cmd, a command that kills the receiver (kill -9) and starts it again")
    identified(context)
    accepted = await _killed_in_mid_load(context, context.commands.restart)
    begun = time.monotonic()
    after: Reply = await context.post(context.message())
    while not context.fine(after):
        if time.monotonic() - begun > context.limits.restart_wait:
            raise Failed(
                f"accepts no event {context.limits.restart_wait:g} s after --restart-cmd: {said([after])}",
                mend="Let the receiver start automatically, and accept events before it does anything else.",
            )
        await asyncio.sleep(0.1)
        after = await context.post(context.message())
    lost = (await counts(context, accepted, context.limits.effects_wait)).count(0)
    if lost:
        raise Failed(f"lost {lost} of {len(accepted)} events that it had accepted around its kill")
    return f"killed under load: none of {len(accepted)} accepted events is lost"


async def _killed_in_mid_load(context: CheckContext, command: str) -> list[Message]:
    """The events accepted before and after the kill; refusing events in between is not a fault."""
    accepted: list[Message] = []

    async def send(message: Message) -> None:
        if context.fine(await context.post(message)):
            accepted.append(message)

    killing: asyncio.Task[None] | None = None
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        while not killing or not killing.done():
            group.create_task(send(identified(context)))
            await asyncio.sleep(1 / _RATE)
            if not killing and time.monotonic() - begun > _BEFORE:
                killing = asyncio.create_task(run(command))
    await killing
    return accepted
