"""How many times an event took effect, counted by the user's own command."""

import asyncio
import shlex
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Sequence

from examples.sender.terminal import Refusal

Count = Callable[[Sequence[str]], Awaitable[list[int]]]
"""From the ids of events to how many times each took effect so far."""
OF_THE_KIT = f"{shlex.quote(sys.executable)} -m examples.ledger {{ids}}"
"""The command for a receiver that is this kit: what its worker recorded in the Redis of REDIS_URL."""
_AT_ONCE = 8  # processes


class CannotCount(Exception):
    """Its message says why, in one line."""


def by_command(command: str) -> Count:
    """Runs a command: one process for each {id}, or one for all {ids}; its last words are the numbers, in order."""
    some = asyncio.Semaphore(_AT_ONCE)

    async def one(event_id: str) -> int:
        async with some:
            (number,) = await _numbers([word.replace("{id}", event_id) for word in shlex.split(command)], 1)
        return number

    async def count(event_ids: Sequence[str]) -> list[int]:
        if "{ids}" not in command:
            return await asyncio.gather(*map(one, event_ids))
        words = [part for word in shlex.split(command) for part in _filled(word, event_ids)]
        return await _numbers(words, len(event_ids))

    return count


def effects_command(command: str | None, *, ledger: bool) -> Count | None:
    """What `--effects-cmd` or `--ledger` asks for, if either does; raises `Refusal` when both do."""
    if command and ledger:
        raise Refusal("expected either --effects-cmd or --ledger")
    chosen = OF_THE_KIT if ledger else command
    return by_command(chosen) if chosen else None


def _filled(word: str, event_ids: Sequence[str]) -> Sequence[str]:
    """`{ids}` alone becomes a word for each id; inside a word they are joined by commas."""
    return event_ids if word == "{ids}" else [word.replace("{ids}", ",".join(event_ids))]


async def _numbers(words: list[str], expected: int) -> list[int]:
    try:
        process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise CannotCount(f"--effects-cmd cannot be run: {error.strerror}: {words[0]}") from None
    out, err = await process.communicate()
    last = out.decode(errors="replace").split()[-expected:]
    if process.returncode or len(last) < expected or not all(word.isdecimal() for word in last):
        told = (err or out).decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        wanted = "a number" if expected == 1 else f"{expected} numbers"
        raise CannotCount(
            f"--effects-cmd should print {wanted}; it ended with {process.returncode} and said: {told[0]}"
        )
    return list(map(int, last))


async def counted(count: Count, event_ids: Sequence[str], wait: float) -> list[int]:
    """How often each took effect, as soon as all have, or else `wait` seconds after the last one that did."""
    counts = dict.fromkeys(event_ids, 0)
    last = time.monotonic()
    while True:
        missing = [event_id for event_id, number in counts.items() if not number]
        found = dict(zip(missing, await count(missing), strict=True))
        last = time.monotonic() if any(found.values()) else last
        counts |= found
        if all(counts.values()) or time.monotonic() - last >= wait:
            return [counts[event_id] for event_id in event_ids]
        await asyncio.sleep(0.1)
