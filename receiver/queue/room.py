"""Makes room in Redis for waiting jobs: removes kept payloads, and moves payloads of dead letters to disk.

Above `ROOM` of its memory, well before receivers begin to spool, payloads of finished deliveries are removed, the
oldest first. If that is not enough, payloads of dead letters and conflicts move into files beside the spool. The dead
letter stays in Redis, with the names of folder and file. No crash loses a payload: its file is on disk before the
payload leaves Redis. A file is removed only after its dead letter was replayed or dropped, not because Redis lacks it:
an emptied Redis lacks all of them.

A command on any host asks for a payload through Redis; a receiver with that folder answers within two seconds.
Receivers that share a folder share its name, and any of them may answer.
"""

import asyncio
import os
import re
import secrets
import socket
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import structlog
from redis.asyncio import Redis

from receiver.queue import letters
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script

ROOM = 0.6
"""Share of `maxmemory` above which room is made."""
LEAST_BYTES = 256
"""Smallest payload that is moved: the reference to the file takes about 40 bytes."""
PAGE, PAGES = 1000, 3
"""Dead letters per call (about a millisecond of Redis), and most calls a second that find none to move."""
SECONDS = 0.5
"""Most seconds spent on moving payloads, in each second."""
ANSWERS = 16 << 20
"""Most bytes put back into Redis in each second, for commands that asked for payloads."""
RECALLED_SECONDS = 60
TOLD_SECONDS = 60.0
_LETTERS, _MOVE, _YIELD = (Script.load(name) for name in ("letters.lua", "move.lua", "yield.lua"))
_FILE = re.compile(r"[0-9a-f]{16}\.(job|zjob)")

log = structlog.get_logger()


def folder_beside(spool: Path) -> Path:
    """The folder of a receiver for payloads of dead letters: beside its spool."""
    return spool.parent / "dead"


class Room:
    """One receiver's part in keeping Redis's memory free; call each method once a second. Raises `REDIS_ERRORS`."""

    def __init__(self, redis: Redis, keys: Keys, folder: Path) -> None:
        self._redis, self._keys, self._folder = redis, keys, folder
        self._where = f"{socket.gethostname()}:{folder.resolve()}"
        self._name = ""
        self._place = 0  # the next dead letter to look at
        self._told_at = float("-inf")
        self._untold: Counter[str] = Counter()

    async def make(self, used: int, limit: int) -> None:
        """Make room if `used` bytes exceed `ROOM` of `limit` (0: no limit)."""
        excess = used - round(ROOM * limit) if limit else 0
        if excess <= 0:
            return
        forgotten: int = await _YIELD(
            self._redis, [self._keys.kept, self._keys.kept_bytes], [excess, self._keys.payload("")]
        )
        self._untold["bytes_no_longer_kept"] += forgotten
        if excess > forgotten:
            try:
                await self._move_letters(excess - forgotten)
            except OSError as error:
                self._untold["error"] = 1
                self._tell(error=f"{self._folder}: {error.strerror}")
        self._tell()

    async def serve(self) -> None:
        """Remove files that are no longer needed, and put payloads back into Redis that a command asked for."""
        if not self._name:
            if not await asyncio.to_thread(self._find_name):
                return
            # each time, because the path may have changed
            await self._redis.execute_command("HSET", self._keys.folders, self._name, self._where)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.smembers(self._keys.unneeded(self._name))
            pipe.smembers(self._keys.wanted(self._name))
            unneeded, wanted = await pipe.execute()
        for file in unneeded:
            if path := self._path(file):
                await asyncio.to_thread(path.unlink, missing_ok=True)
            await self._redis.execute_command("SREM", self._keys.unneeded(self._name), file)
        answered = 0
        for file in wanted:
            if answered < ANSWERS:
                answered += await self._answer(file)

    async def _answer(self, file: bytes) -> int:
        payload = b""
        if path := self._path(file):
            with suppress(FileNotFoundError):  # its dead letter was dropped in the meantime
                payload = await asyncio.to_thread(path.read_bytes)
        if payload:
            recalled = self._keys.recalled(f"{self._name}/{file.decode()}")
            await self._redis.set(recalled, payload, ex=RECALLED_SECONDS)
        await self._redis.execute_command("SREM", self._keys.wanted(self._name), file)
        return len(payload)

    async def _move_letters(self, excess: int) -> None:
        """Move payloads until `excess` bytes are freed; in each page the large ones first, then the oldest."""
        until, idle = time.monotonic() + SECONDS, 0
        while idle < PAGES:
            following, *found = await _LETTERS(
                self._redis, [self._keys.dead], [self._place, PAGE, self._keys.dead_letter(""), LEAST_BYTES]
            )
            here = zip(found[::3], found[1::3], found[2::3], strict=True)
            for dead_id, field, _ in sorted(here, key=lambda one: -int(one[2]).bit_length()):
                if excess <= 0 or time.monotonic() > until:
                    return
                excess -= await self._move(dead_id.decode(), field.decode())
            self._place, idle = following, 0 if found else idle + 1
            if not following:
                return

    async def _move(self, dead_id: str, field: str) -> int:
        """Move one payload; returns the bytes freed."""
        letter = self._keys.dead_letter(dead_id)
        held, at = await self._redis.execute_command("HMGET", letter, field, "at")
        if held is None or at is None:
            return 0
        packed_as, packed = letters.pack(held) if field == letters.PLAIN else (field, held)
        file = f"{secrets.token_hex(8)}.{packed_as}"
        await asyncio.to_thread(self._write, file, packed)
        arguments = [field, len(held), at, self._name, file, self._where]
        if not await _MOVE(self._redis, [letter, self._keys.folders], arguments):
            await asyncio.to_thread((self._folder / file).unlink, missing_ok=True)
            return 0
        self._untold["moved"] += 1
        return len(held)

    def _write(self, file: str, data: bytes) -> None:
        """Write a new file; its content and its name are on disk when this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._find_name():
            self._give_name()
        with (self._folder / file).open("xb") as new:
            new.write(data)
            new.flush()
            os.fsync(new.fileno())
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _find_name(self) -> bool:
        with suppress(FileNotFoundError):
            self._name = (self._folder / "name").read_text(encoding="ascii").strip()
        return bool(self._name)

    def _give_name(self) -> None:
        """Name the folder. If several receivers do so at once, the first name is used by all."""
        new = self._folder / f"name.{secrets.token_hex(8)}"
        new.write_text(secrets.token_hex(8) + "\n", encoding="ascii")
        with suppress(FileExistsError):
            os.link(new, self._folder / "name")
        new.unlink()
        self._find_name()

    def _path(self, file: bytes) -> Path | None:
        """The path for a file name from Redis; None if the name is not valid."""
        name = file.decode("ascii", "replace")
        return self._folder / name if _FILE.fullmatch(name) else None

    def _tell(self, error: str = "") -> None:
        """Log what was done, at most once a minute."""
        if not +self._untold or time.monotonic() - self._told_at < TOLD_SECONDS:
            return
        self._told_at = time.monotonic()
        if error:
            log.error("payloads of dead letters cannot be moved out of redis", error=error)
        else:
            moved = {"dead_letters_moved": self._untold["moved"], "to": str(self._folder)}
            log.info("room made in redis", bytes_no_longer_kept=self._untold["bytes_no_longer_kept"], **moved)
        self._untold.clear()


async def moved(redis: Redis, keys: Keys) -> dict[str, int]:
    """The number of dead letters with their payload in a file, by `host:path` of the folder."""
    counts: Counter[str] = Counter()
    ids = [dead_id.decode() for dead_id in await redis.zrange(keys.dead, 0, -1)]
    for start in range(0, len(ids), PAGE):
        async with redis.pipeline(transaction=False) as pipe:
            for dead_id in ids[start : start + PAGE]:
                pipe.hget(keys.dead_letter(dead_id), letters.MOVED)
            notes = await pipe.execute()
        counts.update(note.decode().partition("/")[0] for note in notes if note)
    told: dict[bytes, bytes] = await redis.execute_command("HGETALL", keys.folders)
    names = {name.decode(): where.decode() for name, where in told.items()}
    return {names.get(name, f"an unknown folder, {name}"): count for name, count in counts.items()}
