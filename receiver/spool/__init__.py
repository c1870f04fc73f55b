"""Deliveries that wait on this host's disk while Redis cannot take them, and their one way out.

    intake ──▶ Spool ──▶ Drain ──▶ Redis
                 │         └─▶ set aside: kept in the file, tried again by itself
                 └─▶ a damaged file: moved away and kept ──▶ recover

| module | what it does |
|---|---|
| `tables` | what waits and what was set aside: all SQL |
| `file` | one SQLite file for all receivers of a host, which may be replaced at any moment |
| `line` | lets receivers write one after the other |
| `reserve` | keeps the space that emptying a spool takes on a disk that it has filled |
| `wal` | reads SQLite's own log past damage |
| `damage` | knows a damaged file from a full disk, moves it away and keeps it |
| `turn` | lets one receiver drain at a time, and waits for none that is frozen |
| `drain` | takes what waits to Redis in order, in batches that fit through the link, around what cannot go |
| `recover` | reads what can be read of a damaged file |
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
from receiver.spool.tables import PATIENCE, QUICKLY, Entry, Row, Tables
from receiver.spool.turn import Turn

__all__ = ["Entry", "Row", "Spool", "SpoolError"]

P = ParamSpec("P")
T = TypeVar("T")


class SpoolError(Exception):
    """The spool could not store or read: one line that says why (a full disk, missing permissions, a lock)."""


class Spool:
    """The spool as one receiver uses it; the file is opened anew by itself when it was damaged or removed.

    The figures are for `/healthz` and the log, and `look` brings them up to date: `depth` (how many wait), `oldest`
    (Unix time; None when none waits or version 0.1 wrote it), `aside` (how many were set aside), `damaged` (names of
    the files that are kept) and `trouble` (why the spool cannot be used at the moment, "" when it can).
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises `SpoolError` when that cannot be done, but not for a disk that is full.

        Then Redis alone stores until there is room: a receiver that did not start would store nothing at all.
        """
        self.path = path
        self.depth, self.aside = 0, 0
        self.oldest: float | None = None
        self.damaged: list[str] = []
        self.trouble = ""
        self._log = os.open(os.devnull, os.O_RDONLY)  # until there is one
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")  # SQLite blocks: never on the event loop
        try:
            self._tables = Tables(path)
            self._look_first()
            self._turn = Turn(self._tables.file.path)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"{path}: {error}") from None

    def is_empty(self) -> bool:
        """Whether nothing waits, by whichever receiver: nothing did, and SQLite's log is empty still. Takes 0.3 µs."""
        return not self.depth and os.lseek(self._log, 0, os.SEEK_END) == 0

    async def write(self, entries: Sequence[Entry]) -> None:
        """Store all entries or none; they are on the disk when this returns. Raises `SpoolError`."""
        await self._in_thread(lambda: self._write(entries))

    async def waiting(self, subjects: Iterable[str]) -> set[str]:
        """Those of the subjects of which something waits; "" never does. Raises `SpoolError`."""
        return await self._call(self._tables.waiting, subjects)

    def take_turn(self) -> bool:
        """Whether this receiver may drain now; to be asked before each `read`, and ended with `end_turn`."""
        return self._turn.take()

    def end_turn(self) -> None:
        self._turn.end()

    async def read(self, limit: int, max_bytes: int) -> list[Row]:
        """The oldest rows: at most `limit`, and no more than `max_bytes` unless the first alone is.

        Raises `SpoolError`.
        """
        return await self._call(self._tables.read, limit, max_bytes)

    async def forget(self, last: Row) -> None:
        """Remove everything that was read up to and including this row.

        It is not read again even when the file cannot be written now; `look` removes it as soon as it can be.
        """
        with suppress(SpoolError):
            await self._call(self._tables.forget, last)

    async def set_aside(self, row: Row, reason: str) -> None:
        """Take a row out of the way of those behind it, or note why it failed once more. Raises `SpoolError`."""
        await self._call(self._tables.set_aside, row, reason)

    async def take_aside(self, before: float, number: int | None = None) -> Row | None:
        """What was set aside and tried the longest ago, if before this Unix time; with a `number`, that row alone.

        It counts as tried once more. Raises `SpoolError`.
        """
        return await self._call(self._tables.take_aside, before, number)

    async def forget_aside(self, row: Row) -> None:
        """Remove what was set aside. Raises `SpoolError`."""
        await self._call(self._tables.forget_aside, row)

    async def look(self) -> None:
        """Bring the figures up to date, show that this receiver lives, give back space that is not needed.

        To be called a few times a second. Raises `SpoolError` while the spool cannot be used.
        """
        self._turn.show_life()
        await self._in_thread(self._look)

    def left_files(self) -> list[Path]:
        """Files that were left to a frozen receiver: `recover.bring_back` brings back what they hold."""
        return damage.kept_files(self._tables.file.path, "left")

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._tables.file.close)
        self._thread.shutdown()
        self._turn.close()
        os.close(self._log)

    def _write(self, entries: Sequence[Entry]) -> None:
        # senders must not wait in line for what has just failed
        self._tables.file.run_even_if_locked(self._tables.write, entries, QUICKLY if self.trouble else PATIENCE)
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
        self.damaged = [kept.name for kept in damage.kept_files(self._tables.file.path, "damaged")]
        self._follow_log()

    def _follow_log(self) -> None:
        """Have the log of the file open, which is there once the file was read; SQLite locks nothing in it."""
        before, path = self._log, f"{self._tables.file.path}-wal"
        if not os.path.samestat(os.fstat(before), os.stat(path)):  # noqa: PTH116
            self._log = os.open(path, os.O_RDONLY)
            os.close(before)

    async def _call(
        self, method: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **more: P.kwargs
    ) -> T:
        return await self._in_thread(lambda: self._tables.file.run(method, *arguments, **more))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        def told() -> T:
            try:
                return call()
            except (sqlite3.Error, OSError) as error:
                self.trouble = str(error)
                raise SpoolError(f"{self.path}: {error}") from None

        return await asyncio.get_running_loop().run_in_executor(self._thread, told)
