"""Counts how often an event took effect, with the user's command."""

import asyncio
import shlex
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Sequence

from examples.sender.terminal import Refusal

Count = Callable[[Sequence[str]], Awaitable[list[int]]]
"""Takes event ids, returns how often each took effect so far."""
OF_THE_KIT = f"{shlex.quote(sys.executable)} -m examples.ledger {{ids}}"
"""The command for this kit: reads what its worker recorded in the Redis at REDIS_URL."""
_AT_ONCE = 8  # processes


class CannotCount(Exception):
    """The effects cannot be counted; the message says why, in one line."""


def by_command(command: str) -> Count:
    """Count with a command: a process for each {id}, or one for all {ids}. The numbers are its last words, in order."""
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
    """The counter for `--effects-cmd` or `--ledger`, if either is given; raises `Refusal` if both are."""
    if command and ledger:
        raise Refusal("expected either --effects-cmd or --ledger")
    chosen = OF_THE_KIT if ledger else command
    return by_command(chosen) if chosen else None


def _filled(word: str, event_ids: Sequence[str]) -> Sequence[str]:
    """`{ids}` alone becomes one word for each id; inside a word, the ids joined by commas."""
    return event_ids if word == "{ids}" else [word.replace("{ids}", ",".join(event_ids))]


async def _numbers(words: list[str], expected: int) -> list[int]:
    try:
        process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        raise CannotCount(f"--effects-cmd cannot be run: {error.strerror}: {words[0]}") from None
    out, err = await process.communicate()
    last = out.decode(errors="replace").split()[-expected:]
    # `grep -c` and the like end with 1 when they have counted 0, without an error; what fails says why on stderr.
    if (process.returncode and err) or len(last) < expected or not all(word.isdecimal() for word in last):
        told = (err or out).decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        wanted = "a number" if expected == 1 else f"{expected} numbers"
        raise CannotCount(
            f"--effects-cmd should print {wanted}; it ended with {process.returncode} and said: {told[0]}"
        )
    return list(map(int, last))


async def counted(count: Count, event_ids: Sequence[str], wait: float) -> list[int]:
    """How often each took effect; returns when all have, or `wait` seconds after the last effect."""
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
