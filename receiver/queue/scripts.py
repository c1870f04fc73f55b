"""Runs the kit's Lua scripts: by hash, and by text if the server does not have the script yet.

redis-py's own `register_script` sends SCRIPT LOAD, which managed services and ACLs often forbid; EVAL loads a script
too.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

LUA = Path(__file__).parent / "lua"
Value = str | bytes | int | float


def _read(name: str) -> str:
    return (LUA / name).read_text(encoding="utf-8")


_PRELUDE = _read("prelude.lua")


class Script:
    """One script: call it with a client, keys and arguments to get the script's answer.

    The client repeats a call whose reply was lost, so every script has to be idempotent.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def load(cls, name: str, *before: str) -> Self:
        """The script in a file of `lua/`, with the prelude that all scripts share, and with the files `before` it."""
        needed = _PRELUDE + "".join(_read(one) for one in before)
        text = _read(name)
        first, rest = text.split("\n", 1) if text.startswith("#!") else ("", text)
        return cls(f"{first}\n{needed}{rest}" if first else needed + rest)

    async def __call__(self, redis: Redis, keys: Sequence[str] = (), args: Sequence[Value] = ()) -> Any:
        try:
            return await redis.execute_command("EVALSHA", self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.execute_command("EVAL", self.text, len(keys), *keys, *args)

    async def replicated(
        self, redis: Redis, keys: Sequence[str], args: Sequence[Value], wait: tuple[int, int]
    ) -> tuple[Any, int]:
        """The answer, and how many replicas have its writes; `wait` is (replicas to wait for, most ms)."""
        try:
            return await _and_wait(redis, ("EVALSHA", self._hash, len(keys), *keys, *args), wait)
        except NoScriptError:
            return await _and_wait(redis, ("EVAL", self.text, len(keys), *keys, *args), wait)


async def _and_wait(redis: Redis, call: Sequence[Value], wait: tuple[int, int]) -> tuple[Any, int]:
    async with redis.pipeline(transaction=False) as pipe:  # WAIT covers only writes of the same connection
        pipe.execute_command(*call)
        pipe.execute_command("WAIT", *wait)
        answer, replicas = await pipe.execute()
    return answer, replicas
