"""Where deliveries wait on this host's disk while Redis cannot take them.

One SQLite file in WAL mode with `synchronous=FULL`: a batch is one transaction, and a transaction that returned is
on the disk. Several receivers may share the file; one of them drains it at a time, in order.
"""

import asyncio
import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

T = TypeVar("T")
PATIENCE = 3.0
"""Seconds that a write waits for those of other receivers, should the disk hesitate: the sender waits ten, and takes
a 503 for a failure, after which nothing documented says that it sends the event again."""
OPENING = 5.0
"""Seconds that a start waits for those of other receivers."""


class SpoolError(Exception):
    """The spool could not store: one line that says why (a full disk, missing permissions, a broken file)."""


class Spool:
    """Items (bytes) in the order in which they were written, until `forget` says that they are safe elsewhere."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises `SpoolError` when that cannot be done."""
        self.path = path
        self.depth = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")  # SQLite blocks: never on the event loop
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=OPENING, check_same_thread=False, isolation_level=None)
            with self._beside(
                ".next"
            ) as turn:  # one after the other: nobody may write while a new file changes its mode
                _insist(lambda: fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB), time.monotonic() + OPENING)
                self._prepare()
            self._next, self._lock = self._beside(".next"), self._beside(".drain")
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"{path}: {error}") from None

    def _beside(self, end: str) -> TextIO:
        return self.path.with_name(self.path.name + end).open("w")

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY AUTOINCREMENT, item BLOB NOT NULL)")
        self._db.execute("PRAGMA busy_timeout=0")  # from here on `_begin` waits
        self._measure()

    async def write(self, items: Sequence[bytes]) -> None:
        """Store all items or none; they are on the disk when this returns. Raises `SpoolError`."""
        await self._in_thread(lambda: self._write(items))

    async def read(self, limit: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """The oldest items as (seq, item): at most `limit`, and no more than `max_bytes` unless the first alone is.

        Empty when there is none, or when another process is draining. Raises `SpoolError`.
        """
        return await self._in_thread(lambda: self._read(limit, max_bytes))

    async def forget(self, up_to: int) -> None:
        """Remove everything up to and including this seq. Raises `SpoolError`."""
        await self._in_thread(lambda: self._forget(up_to))

    async def close(self) -> None:
        await self._in_thread(self._db.close)
        self._thread.shutdown()
        self._lock.close()
        self._next.close()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"{self.path}: {error}") from None

    def _write(self, items: Sequence[bytes]) -> None:
        with self._writing():
            self._db.executemany("INSERT INTO spool (item) VALUES (?)", [(item,) for item in items])
        self.depth += len(items)

    def _read(self, limit: int, max_bytes: int) -> list[tuple[int, bytes]]:
        try:
            fcntl.flock(
                self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # held until closed: the kernel frees it for a killed one
        except BlockingIOError:
            self._measure()
            return []
        found: list[tuple[int, bytes]] = []
        size = 0
        for seq, item in self._db.execute("SELECT seq, item FROM spool ORDER BY seq LIMIT ?", (limit,)):
            size += len(item)
            if found and size > max_bytes:
                break
            found.append((seq, item))
        if not found:
            self.depth = 0
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return found

    def _forget(self, up_to: int) -> None:
        with self._writing():
            self._db.execute("DELETE FROM spool WHERE seq <= ?", (up_to,))
        self._measure()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, all of it on the disk at its end or nothing of it ever."""
        self._begin()
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has rolled back by itself after some errors, a full disk among them
                self._db.execute("ROLLBACK")
            raise

    def _begin(self) -> None:
        """Begin to write, after whoever is writing now: by way of a lock that only the next one holds.

        SQLite itself knows no queue, and waits longer each time that it finds the file locked: a receiver that wrote
        all the time kept another one out until its time was up. Whoever has just written now has to line up again.
        """
        deadline = time.monotonic() + PATIENCE
        _insist(lambda: fcntl.flock(self._next, fcntl.LOCK_EX | fcntl.LOCK_NB), deadline)
        try:
            _insist(lambda: self._db.execute("BEGIN IMMEDIATE"), deadline)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def _measure(self) -> None:
        first, last = self._db.execute("SELECT min(seq), max(seq) FROM spool").fetchone()
        self.depth = last - first + 1 if last is not None else 0


def _insist(take: Callable[[], object], deadline: float) -> None:
    """Take a lock, looking every millisecond whether it is free. Raises what the last look raised."""
    while True:
        try:
            take()
        except (BlockingIOError, sqlite3.OperationalError) as error:
            is_taken = isinstance(error, OSError) or error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_taken or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return
