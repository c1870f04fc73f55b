"""Where the book is: in Redis, for the one process that has the lease, or in a file of a host while Redis is away."""

import fcntl
import os
import uuid
from pathlib import Path
from typing import TextIO

from redis.asyncio import Redis

from receiver.alerts.book import Book
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script

_ALERTS = Script.load("alerts.lua")


class SharedBook:
    """The system's book, for `lease` seconds from each call on. Every call raises one of `REDIS_ERRORS`."""

    def __init__(self, redis: Redis, keys: Keys, lease: float) -> None:
        self._redis, self._keys = redis, [keys.alerting, keys.alerts]
        self._id = uuid.uuid4().hex
        self._lease = round(lease * 1000)
        self._is_ours = False

    async def take(self) -> Book | None:
        """The book, if this process is the one that alerts now; it is for the lease's time."""
        text = await _ALERTS(self._redis, self._keys, [self._id, self._lease])
        self._is_ours = text is not None
        return None if text is None else Book.parse(text)

    async def keep(self, book: Book) -> bool:
        """Write it; False if another process alerts now."""
        return await _ALERTS(self._redis, self._keys, [self._id, self._lease, book.encode()]) is not None

    async def leave(self) -> None:
        """Let another process take over at once."""
        if self._is_ours and await self.take() is not None:
            await _ALERTS(self._redis, self._keys, [self._id, 1])
            self._is_ours = False


class HostBook:
    """A host's book beside the spool that its receivers share; the kernel ends a killed receiver's turn."""

    def __init__(self, spool: Path) -> None:
        self._path = spool.with_name(spool.name + ".alerts")
        self._file: TextIO | None = None

    def take(self) -> Book | None:
        """The book, if no other receiver of this host has it. Raises OSError."""
        if self._file is None:
            file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
            self._file = file
        self._file.seek(0)
        try:
            return Book.parse(self._file.read())
        except ValueError:  # cut short by a full disk
            return Book()

    async def keep(self, book: Book) -> None:
        """Write it. Raises OSError."""
        assert self._file is not None  # noqa: S101 - see `take`
        self._file.seek(0)
        self._file.truncate()
        self._file.write(book.encode())
        self._file.flush()

    @property
    def is_there(self) -> bool:
        """Whether anything was written since all was well."""
        return self._path.exists()

    def leave(self, *, for_good: bool) -> None:
        """Let another receiver have it; remove it `for_good` when there is nothing in it."""
        if self._file is not None:
            if for_good:
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
