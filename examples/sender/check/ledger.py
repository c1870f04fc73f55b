"""How many times an event took effect, counted by the user's own command."""

import asyncio
import shlex
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable

Count = Callable[[str], Awaitable[int]]
"""From an event's id to how many times it took effect so far."""


class CannotCount(Exception):
    """Its message says why, in one line."""


def by_command(command: str) -> Count:
    """Runs a command with {id} replaced; the last word that it prints is the number."""

    async def count(event_id: str) -> int:
        words = [word.replace("{id}", event_id) for word in shlex.split(command)]
        try:
            process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
        except OSError as error:
            raise CannotCount(f"--effects-cmd cannot be run: {error.strerror}: {words[0]}") from None
        out, err = await process.communicate()
        last = (out.decode(errors="replace").split() or [""])[-1]
        if process.returncode or not last.isdecimal():
            told = (err or out).decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            code = process.returncode
            raise CannotCount(f"--effects-cmd should print a number; it ended with {code} and said: {told[0]}")
        return int(last)

    return count
