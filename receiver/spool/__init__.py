"""A spool on this host's disk for deliveries that Redis cannot store at the moment.

    intake ──▶ Spool ──▶ Drain ──▶ Redis
                 │         └─▶ set aside: kept in the file and retried automatically
                 └─▶ a damaged file: moved away and kept ──▶ recover

| module | what it does |
|---|---|
| `tables` | the tables of waiting deliveries and of those set aside: all SQL |
| `file` | one SQLite file for all receivers of a host, which may be replaced at any moment |
| `lock` | a lock that serialises writers |
| `reserve` | reserved disk space, needed to empty a spool that has filled its disk |
| `wal` | reads SQLite's write-ahead log past damage |
| `damage` | distinguishes a damaged file from a full disk, moves it away and keeps it |
| `lease` | a lease, so that one receiver drains at a time; it expires if that receiver is frozen |
| `drain` | sends waiting deliveries to Redis in order, in batches that suit the link, and sets failing ones aside |
| `recover` | reads the readable rows of a damaged file |
| `commands` | `python -m receiver spool` |
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from receiver.spool import damage
from receiver.spool.lease import DrainLease
from receiver.spool.tables import SHORT_TIMEOUT, WRITE_TIMEOUT, Entry, Row, Tables

__all__ = ["Entry", "Row", "Spool", "SpoolError"]

P = ParamSpec("P")
T = TypeVar("T")


class SpoolError(Exception):
    """The spool cannot be read or written; the message says why in one line (full disk, permissions, a lock)."""


class Spool:
    """The spool as one receiver uses it; a damaged or removed file is replaced automatically.

    `look` updates the figures for `/healthz`, `/metrics` and the log: `depth` (waiting deliveries), `bytes` (of the
    file and SQLite's log), `oldest` (Unix time; None if none waits or version 0.1 wrote it), `aside` (deliveries set
    aside), `damaged` (names of kept damaged files) and `trouble` (why the spool cannot be used at the moment; "" if it
    can).
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises `SpoolError`, except for a full disk.

        With a full disk Redis alone stores until there is room: a receiver that does not start would store nothing.
        """
        self.path = path
        self.depth, self.aside, self.bytes = 0, 0, 0
        self.oldest: float | None = None
        self.damaged: list[str] = []
        self.trouble = ""
        self._log = os.open(os.devnull, os.O_RDONLY)  # replaced by `_follow_log`
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")  # SQLite blocks: never on the event loop
        try:
            self._tables = Tables(path)
            self._look_first()
            self._lease = DrainLease(self._tables.file.path)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"{path}: {error}") from None

    def is_empty(self) -> bool:
        """Whether no receiver's delivery waits: none did at the last look, and SQLite's log is still empty. 0.3 µs."""
        return not self.depth and os.lseek(self._log, 0, os.SEEK_END) == 0

    async def write(self, entries: Sequence[Entry]) -> None:
        """Store all entries or none; they are on disk when this returns. Raises `SpoolError`."""
        await self._in_thread(lambda: self._write(entries))

    async def waiting(self, subjects: Iterable[str]) -> set[str]:
        """The subjects that have waiting deliveries; never "". Raises `SpoolError`."""
        return await self._call(self._tables.waiting, subjects)

    def take_lease(self) -> bool:
        """Whether this receiver may drain now. Call it before each `read`, and `release_lease` at the end."""
        return self._lease.take()

    def release_lease(self) -> None:
        self._lease.release()

    async def read(self, limit: int, max_bytes: int) -> list[Row]:
        """The oldest rows: at most `limit`, and at most `max_bytes` unless the first row alone is larger.

        Raises `SpoolError`.
        """
        return await self._call(self._tables.read, limit, max_bytes)

    async def forget(self, last: Row) -> None:
        """Remove all rows up to and including this one.

        They are not read again even if the file cannot be written now; `look` removes them later.
        """
        with suppress(SpoolError):
            await self._call(self._tables.forget, last)

    async def set_aside(self, row: Row, reason: str) -> None:
        """Move a row to the rows set aside, or note its new reason if it is there. Raises `SpoolError`."""
        await self._call(self._tables.set_aside, row, reason)

    async def take_aside(self, before: float, number: int | None = None) -> Row | None:
        """The row set aside whose last try is the oldest and before this Unix time; only row `number` if given.

        Counts one more try. Raises `SpoolError`.
        """
        return await self._call(self._tables.take_aside, before, number)

    async def forget_aside(self, row: Row) -> None:
        """Remove a row that was set aside. Raises `SpoolError`."""
        await self._call(self._tables.forget_aside, row)

    async def look(self) -> None:
        """Update the figures, renew the drain lease and free unused disk space.

        Call it a few times a second. Raises `SpoolError` while the spool cannot be used.
        """
        self._lease.renew()
        await self._in_thread(self._look)

    def left_files(self) -> list[Path]:
        """Files left to a frozen receiver; `recover.bring_back` writes their rows into the spool again."""
        return damage.kept_files(self._tables.file.path, "left")

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._tables.file.close)
        self._thread.shutdown()
        self._lease.close()
        os.close(self._log)

    def _write(self, entries: Sequence[Entry]) -> None:
        # after a failure, wait only briefly: the sender is waiting too
        self._tables.file.run_even_if_locked(
            self._tables.write, entries, SHORT_TIMEOUT if self.trouble else WRITE_TIMEOUT
        )
        if not self.depth:
            self.oldest = time.time()
        self.depth += len(entries)
        self.trouble = ""

    def _look_first(self) -> None:
        try:
            self._look()
        except (sqlite3.Error, OSError) as error:
            if not damage.is_lack_of_room(error):
                raise
            self.trouble = str(error)

    def _look(self) -> None:
        self._measure()
        self._tables.file.run(self._tables.tidy)
        if self.trouble:
            self._tables.file.run(self._tables.prove_writable)
            self.trouble = ""
        self._measure()

    def _measure(self) -> None:
        self.depth, self.oldest, self.aside = self._tables.file.run(self._tables.figures)
        with suppress(FileNotFoundError):  # it is just being replaced
            self.bytes = sum(os.stat(f"{self._tables.file.path}{end}").st_size for end in ("", "-wal"))  # noqa: PTH116
        self.damaged = [kept.name for kept in damage.kept_files(self._tables.file.path, "damaged")]
        self._follow_log()

    def _follow_log(self) -> None:
        """Keep SQLite's log open for `is_empty`. It exists once the file was read, and SQLite locks nothing in it."""
        before, path = self._log, f"{self._tables.file.path}-wal"
        if not os.path.samestat(os.fstat(before), os.stat(path)):  # noqa: PTH116
            self._log = os.open(path, os.O_RDONLY)
            os.close(before)

    async def _call(
        self, method: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **more: P.kwargs
    ) -> T:
        return await self._in_thread(lambda: self._tables.file.run(method, *arguments, **more))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        def translated() -> T:
            try:
                return call()
            except (sqlite3.Error, OSError) as error:
                self.trouble = str(error)
                raise SpoolError(f"{self.path}: {error}") from None

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)
