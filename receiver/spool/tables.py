"""The spool's two tables: what waits, in the order in which it was written, and what was set aside. All SQL is here.

Two versions of the kit may share a file: `seq` and `item` are what they were in version 0.1, which writes NULL into
the other columns and does not see what was set aside.
"""

import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from receiver.spool import reserve
from receiver.spool.file import SharedFile
from receiver.spool.line import unless_taken

SPOOL = """CREATE TABLE IF NOT EXISTS spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, item BLOB NOT NULL, subject TEXT, at REAL, crc INTEGER
)"""
"""`at`: Unix time of writing. `crc`: CRC-32 of the item, because SQLite has no checksums of its own."""
ADDED = {"subject": "TEXT", "at": "REAL", "crc": "INTEGER"}
"""Columns that a file of version 0.1 lacks."""
INDEX = "CREATE INDEX IF NOT EXISTS spool_subject ON spool (subject)"
ASIDE = """CREATE TABLE IF NOT EXISTS aside (
    seq INTEGER PRIMARY KEY, item BLOB NOT NULL, subject TEXT, at REAL, crc INTEGER,
    reason TEXT NOT NULL, tries INTEGER NOT NULL, tried REAL NOT NULL
)"""
INSERT = "INSERT INTO spool (item, subject, at, crc) VALUES (?, ?, ?, ?)"
PATIENCE = 3.0
"""Seconds that a write waits for those of other receivers, should the disk hesitate: the sender waits ten, and takes
a 503 for a failure, after which nothing documented says that it sends the event again."""
QUICKLY = 0.5
"""Seconds that what can be done later waits for them."""
SLACK_PAGES = 64
"""Pages (of 4 KiB) that an empty spool may have."""
MOVED_PAGES = 4096
"""Pages in use (16 MiB, by what was set aside) up to which a file is written anew to give back the others."""


class Entry(NamedTuple):
    """What is written: a packed delivery, and the subject whose order is kept ("" for none)."""

    item: bytes
    subject: str = ""


class Row(NamedTuple):
    """What is read. `is_whole` is False when the item is not what was written; `file` tells one file from another."""

    seq: int
    item: bytes
    is_whole: bool
    file: int


class Figures(NamedTuple):
    """How many wait, when the oldest was written (Unix time; None: unknown), how many were set aside."""

    depth: int
    oldest: float | None
    aside: int


class Tables:
    """What can be done with the file, by one thread. The methods that take a connection are calls for `file.run`.

    `_sent_to` is the last row that need not be read again, though it may still be there: a full disk, or a process that
    is frozen in the middle of writing, can keep rows from being removed.
    """

    def __init__(self, path: Path) -> None:
        self.file = SharedFile(path, self._prepare)
        self._sent_to = self._removed_to = 0

    def write(self, db: sqlite3.Connection, entries: Sequence[Entry], patience: float) -> None:
        """Store all entries or none."""
        now = time.time()
        with self.file.transaction(db, patience):
            db.executemany(INSERT, [(item, subject, now, zlib.crc32(item)) for item, subject in entries])

    def waiting(self, db: sqlite3.Connection, subjects: Iterable[str]) -> set[str]:
        """Those of the subjects of which something waits; all, while something waits whose subject is unknown."""

        def waits(subject: str | None) -> bool:
            query = "SELECT 1 FROM spool WHERE subject IS ? AND seq > ? LIMIT 1"
            return db.execute(query, (subject, self._sent_to)).fetchone() is not None

        is_any = waits(None)
        return {subject for subject in subjects if subject and (is_any or waits(subject))}

    def read(self, db: sqlite3.Connection, limit: int, max_bytes: int) -> list[Row]:
        """The oldest rows: at most `limit`, and no more than `max_bytes` unless the first alone is."""
        rows: list[Row] = []
        size = 0
        query = "SELECT seq, item, crc FROM spool WHERE seq > ? ORDER BY seq LIMIT ?"
        for found in db.execute(query, (self._sent_to, limit)):
            row = self._row(*found)
            size += len(row.item)
            if rows and size > max_bytes:
                break
            rows.append(row)
        return rows

    def forget(self, db: sqlite3.Connection, last: Row) -> None:
        """Remove all up to and including this row, which counts as sent even if the file cannot be written now."""
        if last.file != self.file.number:
            return
        is_late = self._removed_to < self._sent_to  # then `tidy` goes on trying
        self._sent_to = max(self._sent_to, last.seq)
        if not is_late:
            self._remove_sent(db)

    def set_aside(self, db: sqlite3.Connection, row: Row, reason: str) -> None:
        """Take a row out of the way of those behind it, or note why it failed once more."""
        if row.file != self.file.number:
            return
        with self.file.transaction(db, PATIENCE):
            db.execute("UPDATE aside SET reason = ? WHERE seq = ?", (reason, row.seq))
            db.execute(
                "INSERT INTO aside SELECT seq, item, subject, at, crc, ?, 1, ? FROM spool WHERE seq = ?",
                (reason, time.time(), row.seq),
            )
            db.execute("DELETE FROM spool WHERE seq = ?", (row.seq,))

    def take_aside(self, db: sqlite3.Connection, before: float, number: int | None = None) -> Row | None:
        """What was set aside and tried the longest ago, if before this Unix time; it counts as tried once more.

        With a `number`, that row alone.
        """
        query = "SELECT seq, item, crc FROM aside WHERE tried < ? AND seq = ifnull(?, seq) ORDER BY tried LIMIT 1"
        if db.execute(query, (before, number)).fetchone() is None:
            return None
        with self.file.transaction(db, PATIENCE):
            found = db.execute(query, (before, number)).fetchone()
            if found:
                change = "UPDATE aside SET tried = ?, tries = tries + 1 WHERE seq = ?"
                db.execute(change, (time.time(), found[0]))
        return self._row(*found) if found else None

    def forget_aside(self, db: sqlite3.Connection, row: Row) -> None:
        """Remove what was set aside."""
        if row.file == self.file.number:
            with self.file.transaction(db, PATIENCE):
                db.execute("DELETE FROM aside WHERE seq = ?", (row.seq,))

    def figures(self, db: sqlite3.Connection) -> Figures:
        query = "SELECT (SELECT min(seq) FROM spool WHERE seq > ?), (SELECT max(seq) FROM spool)"
        first, last = db.execute(query, (self._sent_to,)).fetchone()  # one by one, SQLite need not read all rows
        [aside] = db.execute("SELECT count(*) FROM aside").fetchone()
        if first is None:
            return Figures(0, None, aside)
        found = db.execute("SELECT at FROM spool WHERE seq = ?", (first,)).fetchone()
        return Figures(last - first + 1, found[0] if found else None, aside)

    def tidy(self, db: sqlite3.Connection) -> None:
        """Remove what could not be removed when it was sent; give back the space of an empty spool."""
        if self._removed_to < self._sent_to:
            try:
                self._remove_sent(db)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or self._has_unsent(db):
                    raise
                reserve.give_up(self.file.path)
                self._remove_all(db)
        with unless_taken():
            self._shrink(db)
        reserve.keep(self.file.path)

    def prove_writable(self, db: sqlite3.Connection) -> None:
        """Write something of no importance, and bring it to the disk."""
        with self.file.transaction(db, QUICKLY):
            [number] = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {(number + 1) % 1000}")

    def _prepare(self, db: sqlite3.Connection, removed: sqlite3.Connection | None) -> None:
        """Make the tables that a file lacks, and bring over what one holds that was removed."""
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        lacking = [name for name in ADDED if name not in {row[1] for row in db.execute("PRAGMA table_info(spool)")}]
        if removed or lacking or not {"spool", "spool_subject", "aside"} <= there:  # else it need not be written now
            db.execute("BEGIN IMMEDIATE")
            db.execute(SPOOL)
            for name in lacking if "spool" in there else ():
                db.execute(f"ALTER TABLE spool ADD COLUMN {name} {ADDED[name]}")
            db.execute(INDEX)
            db.execute(ASIDE)
            if removed:
                db.executemany(INSERT, self._left_in(removed))
            db.execute("COMMIT")
        self._sent_to = self._removed_to = 0

    def _left_in(self, removed: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
        """What waits in a removed file, as far as it can be read: nobody else will be able to."""
        with suppress(sqlite3.Error):
            waiting = "SELECT item, subject, at, crc FROM spool WHERE seq > ? ORDER BY seq"
            yield from removed.execute(waiting, (self._sent_to,))
            yield from removed.execute("SELECT item, subject, at, crc FROM aside ORDER BY seq")

    def _remove_sent(self, db: sqlite3.Connection) -> None:
        with unless_taken():
            with self.file.transaction(db, QUICKLY):
                db.execute("DELETE FROM spool WHERE seq <= ?", (self._sent_to,))
            self._removed_to = self._sent_to

    def _remove_all(self, db: sqlite3.Connection) -> None:
        """Once everything was sent: it takes a hundredth of the space that removing it row by row does."""
        with self.file.transaction(db, QUICKLY):
            if not self._has_unsent(db):
                db.execute("DELETE FROM spool")
                self._removed_to = self._sent_to

    def _has_unsent(self, db: sqlite3.Connection) -> bool:
        return db.execute("SELECT 1 FROM spool WHERE seq > ? LIMIT 1", (self._sent_to,)).fetchone() is not None

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Once nothing waits, write what is left anew and cut file and log: milliseconds.

        An empty log says to all receivers that nothing waits (`Spool.is_empty`), so it is cut while nobody can write.
        """
        [pages] = db.execute("PRAGMA page_count").fetchone()
        [free] = db.execute("PRAGMA freelist_count").fetchone()
        is_large = free > SLACK_PAGES and pages - free < MOVED_PAGES
        if _has_rows(db) or not (is_large or Path(f"{self.file.path}-wal").stat().st_size):
            return
        with self.file.line.alone() as is_alone:
            if not is_alone:
                return
            db.execute("BEGIN IMMEDIATE")  # nobody is in the middle of writing
            is_needed = _has_rows(db)
            db.execute("ROLLBACK")
            if not is_needed:
                if is_large:
                    db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _row(self, seq: int, item: object, crc: int | None) -> Row:
        """A row as it was read; whole, as far as can be told, if version 0.1 wrote it."""
        if not isinstance(item, bytes):
            return Row(seq, b"", False, self.file.number)
        return Row(seq, item, crc is None or zlib.crc32(item) == crc, self.file.number)


def _has_rows(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM spool LIMIT 1").fetchone() is not None
