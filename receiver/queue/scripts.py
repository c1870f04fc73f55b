"""How every Lua script of the kit is run: by its hash, and by its text where the server does not know it.

redis-py's own `register_script` sends SCRIPT LOAD, which managed services and access control lists often forbid; EVAL
teaches the server a script just as well.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

LUA = Path(__file__).parent / "lua"
_PRELUDE = (LUA / "prelude.lua").read_text(encoding="utf-8")
Value = str | bytes | int | float


class Script:
    """One script; called with a client, its keys and its arguments it returns the script's answer.

    The client asks again for a reply that was lost, so every script gives the same answer twice.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def load(cls, name: str) -> Self:
        """The script in a file of `lua/`, with what several scripts need in front of it."""
        text = (LUA / name).read_text(encoding="utf-8")
        first, rest = text.split("\n", 1) if text.startswith("#!") else ("", text)
        return cls(f"{first}\n{_PRELUDE}{rest}" if first else _PRELUDE + rest)

    async def __call__(self, redis: Redis, keys: Sequence[str] = (), args: Sequence[Value] = ()) -> Any:
        try:
            return await redis.execute_command("EVALSHA", self._hash, len(keys), *keys, *args)
        except NoScriptError:
            return await redis.execute_command("EVAL", self.text, len(keys), *keys, *args)

    async def replicated(
        self, redis: Redis, keys: Sequence[str], args: Sequence[Value], wait: tuple[int, int]
    ) -> tuple[Any, int]:
        """The answer, and how many replicas have all of it: `wait` says for how many, and for how many ms at most."""
        try:
            return await _and_wait(redis, ("EVALSHA", self._hash, len(keys), *keys, *args), wait)
        except NoScriptError:
            return await _and_wait(redis, ("EVAL", self.text, len(keys), *keys, *args), wait)


async def _and_wait(redis: Redis, call: Sequence[Value], wait: tuple[int, int]) -> tuple[Any, int]:
    async with redis.pipeline(transaction=False) as pipe:  # WAIT is about its own connection's writes
        pipe.execute_command(*call)
        pipe.execute_command("WAIT", *wait)
        answer, replicas = await pipe.execute()
    return answer, replicas
