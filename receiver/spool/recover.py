"""Reads the readable rows of a damaged spool file, and skips pages that cannot be read.

Rows are read through SQLite, not by scanning pages: free pages still hold deliveries that were handled long ago.
"""

import asyncio
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from receiver.spool import Spool, wal
from receiver.spool.damage import rename
from receiver.spool.drain import BATCH_BYTES, BATCH_ROWS, delivery_of
from receiver.spool.overview import read_only
from receiver.spool.tables import Entry, Tables
from receiver.spool.wal import PAGE

ROW = "SELECT item, subject, crc FROM spool WHERE seq = ?"
OLD_ROW = "SELECT item, NULL, NULL FROM spool WHERE seq = ?"  # of version 0.1
ASIDE = "SELECT item, subject, crc FROM aside WHERE seq = ?"


class Report(NamedTuple):
    """How many rows were brought back or unreadable, and the path at which the damaged file is kept."""

    brought_back: int
    unreadable: int
    kept: Path


async def bring_back(file: Path, spool: Spool, watch: Callable[[Iterable[int]], Iterable[int]] = iter) -> Report:
    """Write the readable rows of a file into the spool. Raises `sqlite3.Error` if its table cannot be found.

    `watch` wraps the iterable of row numbers, to show progress.
    """
    brought_back = unreadable = 0
    with ExitStack() as stack:  # in threads: files are copied and checked, and there may be many rows
        db = await asyncio.to_thread(stack.enter_context, opened(file))
        batches = _batches(rows(db, watch(await asyncio.to_thread(numbers, db))))
        while batch := await asyncio.to_thread(next, batches, None):
            entries = [entry for entry in batch if entry]
            unreadable += len(batch) - len(entries)
            if entries:
                await spool.write(entries)
            brought_back += len(entries)
    return Report(brought_back, unreadable, rename(file, "recovered"))


def _batches(rows: Iterable[Entry | None]) -> Iterator[list[Entry | None]]:
    batch: list[Entry | None] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.item) if row else 0
        if len(batch) == BATCH_ROWS or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@contextmanager
def opened(damaged: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection to the file. Raises `sqlite3.Error` if its table cannot be found.

    Repairs are made in a copy.
    """
    with tempfile.TemporaryDirectory(dir=damaged.parent, prefix="recover-") as folder:
        file = _with_mended_log(damaged, Path(folder))
        db = read_only(file)
        try:
            numbers(db)
        except sqlite3.DatabaseError:
            db.close()
            db = read_only(_with_new_first_page(file, Path(folder)))
        with closing(db):
            numbers(db)
            yield db


def numbers(db: sqlite3.Connection) -> Iterable[int]:
    """The numbers of waiting rows: from the index, which is on other pages, else every possible number."""
    with suppress(sqlite3.Error):
        return sorted(seq for (seq,) in db.execute("SELECT seq FROM spool INDEXED BY spool_subject"))
    first = 1
    with suppress(sqlite3.Error):
        [first] = db.execute("SELECT coalesce(min(seq), 1) FROM spool").fetchone()
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'spool'").fetchone()
    return range(first, found[0] + 1 if found else first)


def rows(db: sqlite3.Connection, numbers: Iterable[int]) -> Iterator[Entry | None]:
    """Waiting rows in order, then rows set aside; None for a row that is unreadable or has a wrong checksum."""
    known = {row[1] for row in db.execute("PRAGMA table_info(spool)")}
    yield from _each(db, ROW if "crc" in known else OLD_ROW, numbers)
    aside: list[int] = []
    with suppress(sqlite3.Error):  # version 0.1 has no such table
        aside.extend(seq for (seq,) in db.execute("SELECT seq FROM aside"))
    yield from _each(db, ASIDE, aside)


def _each(db: sqlite3.Connection, query: str, numbers: Iterable[int]) -> Iterator[Entry | None]:
    for number in numbers:
        try:
            found = db.execute(query, (number,)).fetchone()
        except sqlite3.Error:
            yield None
            continue
        if found:
            yield _entry(*found)


def _entry(item: object, subject: str | None, crc: int | None) -> Entry | None:
    if not isinstance(item, bytes) or not delivery_of(item) or crc not in {None, zlib.crc32(item)}:
        return None
    return Entry(item, str(subject or ""))


def _with_mended_log(damaged: Path, folder: Path) -> Path:
    """The file, or a copy with a repaired log if SQLite would not read the log to its end."""
    before = Path(f"{damaged}-wal").read_bytes() if Path(f"{damaged}-wal").exists() else b""
    after = wal.mended(before) if before else b""
    return damaged if before.startswith(after) else _copy(damaged, folder / "log.db", after)


def _with_new_first_page(damaged: Path, folder: Path) -> Path:
    """A copy whose first page, with the header and the list of tables, comes from a new spool.

    First pages differ only in the number of pages and in the list of free pages, which is not needed.
    """
    new = Tables(folder / "new.db")
    new.file.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
    new.file.close()
    page = bytearray((folder / "new.db").read_bytes()[:PAGE])
    page[28:32] = (damaged.stat().st_size // PAGE).to_bytes(4, "big")  # https://www.sqlite.org/fileformat2.html
    page[32:40] = bytes(8)
    logged = Path(f"{damaged}-wal").read_bytes() if Path(f"{damaged}-wal").exists() else b""
    copy = _copy(damaged, folder / "page.db", logged)
    with copy.open("r+b") as file:
        file.write(page)
    return copy


def _copy(file: Path, to: Path, logged: bytes) -> Path:
    shutil.copyfile(file, to)
    Path(f"{to}-wal").write_bytes(logged)
    return to
