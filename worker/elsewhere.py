"""Payloads of dead letters that are in a file of a receiver's host, because Redis had no room (`queue/room.py`).

They are asked for through Redis, so that a command may run on any host.
"""

import asyncio
from collections.abc import Iterable

from arq.connections import ArqRedis

from receiver.queue import letters
from receiver.queue.keys import Keys

RECALLS = 3
"""How often a payload is asked for, a second apart."""


class PayloadElsewhere(Exception):
    """The payload of a dead letter is in a file of a host whose receiver does not answer: one line says where."""


class Recalls:
    """Asks receivers for payloads, and remembers which of their folders did not answer.

    The place of a payload is `folder/file`, as the dead letter has it.
    """

    def __init__(self, redis: ArqRedis, keys: Keys) -> None:
        self._redis, self._keys = redis, keys
        self._silent: set[str] = set()

    async def ask_for(self, places: Iterable[str]) -> None:
        """Ask for several at once: reading them one by one then waits only once."""
        for place in places:
            folder, _, file = place.partition("/")
            await self._redis.execute_command("SADD", self._keys.wanted(folder), file)

    async def payload(self, dead_id: str, place: str) -> bytes:
        """The payload of this dead letter: its receiver puts it into Redis for a minute. Raises `PayloadElsewhere`."""
        folder, _, file = place.partition("/")
        recalled = self._keys.recalled(place)
        for _ in range(0 if folder in self._silent else RECALLS):
            await self.ask_for([place])
            for _ in range(10):
                if payload := await self._redis.get(recalled):
                    await self._redis.delete(recalled)
                    return letters.unpack(file.rpartition(".")[2], payload)
                await asyncio.sleep(0.1)
        self._silent.add(folder)
        where = await self._redis.execute_command("HGET", self._keys.folders, folder)
        host, _, path = (where or b"an unknown host:").decode().partition(":")
        raise PayloadElsewhere(
            f"{dead_id}: its payload is in {path}/{file} on {host}, where no receiver answers; start it there"
        )
