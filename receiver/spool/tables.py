"""The spool's two tables, rows that wait in the order of writing and rows set aside, and all SQL.

Two versions of the kit may share a file: version 0.1 has only `seq` and `item`, writes NULL into the other columns and
does not see the rows set aside.
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
from receiver.spool.lock import unless_locked

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
WRITE_TIMEOUT = 3.0
"""Seconds that a write waits for other receivers' writes on a slow disk. The sender waits ten seconds; it takes a 503
for a failure, and is not documented to send the event again."""
SHORT_TIMEOUT = 0.5
"""Seconds that work which can be done later waits for other writers."""
SLACK_PAGES = 64
"""Free pages (of 4 KiB) that an empty spool may keep."""
MOVED_PAGES = 4096
"""Most pages in use (16 MiB, by rows set aside) with which the file is vacuumed: a larger file would take too long."""


class Entry(NamedTuple):
    """A delivery to write: packed, and with the subject whose order is kept ("" for none)."""

    item: bytes
    subject: str = ""


class Row(NamedTuple):
    """A row as read. `is_whole` is False if its checksum is wrong; `file` is the number of the file it is from."""

    seq: int
    item: bytes
    is_whole: bool
    file: int


class Figures(NamedTuple):
    """Waiting rows, when the oldest was written (Unix time; None: unknown), rows set aside."""

    depth: int
    oldest: float | None
    aside: int


class Tables:
    """The operations on the file, for one thread. Methods with a connection are to be run by `file.run`.

    `_sent_to` is the last row that was sent. Sent rows may still be in the file: a full disk, or a process frozen while
    writing, can prevent their removal.
    """

    def __init__(self, path: Path) -> None:
        self.file = SharedFile(path, self._prepare)
        self._sent_to = self._removed_to = 0

    def write(self, db: sqlite3.Connection, entries: Sequence[Entry], timeout: float) -> None:
        """Store all entries or none."""
        now = time.time()
        with self.file.transaction(db, timeout):
            db.executemany(INSERT, [(item, subject, now, zlib.crc32(item)) for item, subject in entries])

    def waiting(self, db: sqlite3.Connection, subjects: Iterable[str]) -> set[str]:
        """The subjects that have waiting rows; all of them while a row with an unknown subject waits."""

        def waits(subject: str | None) -> bool:
            query = "SELECT 1 FROM spool WHERE subject IS ? AND seq > ? LIMIT 1"
            return db.execute(query, (subject, self._sent_to)).fetchone() is not None

        is_any = waits(None)
        return {subject for subject in subjects if subject and (is_any or waits(subject))}

    def read(self, db: sqlite3.Connection, limit: int, max_bytes: int) -> list[Row]:
        """The oldest rows: at most `limit`, and at most `max_bytes` unless the first row alone is larger."""
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
        """Remove all rows up to and including this one; they count as sent even if the file cannot be written."""
        if last.file != self.file.number:
            return
        is_late = self._removed_to < self._sent_to  # then `tidy` does it
        self._sent_to = max(self._sent_to, last.seq)
        if not is_late:
            self._remove_sent(db)

    def set_aside(self, db: sqlite3.Connection, row: Row, reason: str) -> None:
        """Move a row to the rows set aside, or note its new reason if it is there."""
        if row.file != self.file.number:
            return
        with self.file.transaction(db, WRITE_TIMEOUT):
            db.execute("UPDATE aside SET reason = ? WHERE seq = ?", (reason, row.seq))
            db.execute(
                "INSERT INTO aside SELECT seq, item, subject, at, crc, ?, 1, ? FROM spool WHERE seq = ?",
                (reason, time.time(), row.seq),
            )
            db.execute("DELETE FROM spool WHERE seq = ?", (row.seq,))

    def take_aside(self, db: sqlite3.Connection, before: float, number: int | None = None) -> Row | None:
        """The row set aside whose last try is the oldest and before this Unix time; counts one more try.

        Only row `number` if given.
        """
        query = (  # what was tried later than now was tried before the clock went back
            "SELECT seq, item, crc FROM aside WHERE tried NOT BETWEEN ? AND ? AND seq = ifnull(?, seq)"
            " ORDER BY tried LIMIT 1"
        )
        now = time.time()
        if db.execute(query, (before, now, number)).fetchone() is None:
            return None
        with self.file.transaction(db, WRITE_TIMEOUT):
            found = db.execute(query, (before, now, number)).fetchone()
            if found:
                change = "UPDATE aside SET tried = ?, tries = tries + 1 WHERE seq = ?"
                db.execute(change, (now, found[0]))
        return self._row(*found) if found else None

    def forget_aside(self, db: sqlite3.Connection, row: Row) -> None:
        """Remove a row that was set aside."""
        if row.file == self.file.number:
            with self.file.transaction(db, WRITE_TIMEOUT):
                db.execute("DELETE FROM aside WHERE seq = ?", (row.seq,))

    def figures(self, db: sqlite3.Connection) -> Figures:
        query = "SELECT (SELECT min(seq) FROM spool WHERE seq > ?), (SELECT max(seq) FROM spool)"
        first, last = db.execute(query, (self._sent_to,)).fetchone()  # two subqueries, so that SQLite uses the index
        [aside] = db.execute("SELECT count(*) FROM aside").fetchone()
        if first is None:
            return Figures(0, None, aside)
        found = db.execute("SELECT at FROM spool WHERE seq = ?", (first,)).fetchone()
        return Figures(last - first + 1, found[0] if found else None, aside)

    def tidy(self, db: sqlite3.Connection) -> None:
        """Remove sent rows that are still there; free the disk space of an empty spool."""
        if self._removed_to < self._sent_to:
            try:
                self._remove_sent(db)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or self._has_unsent(db):
                    raise
                reserve.give_up(self.file.path)
                self._remove_all(db)
        with unless_locked():
            self._shrink(db)
        reserve.keep(self.file.path)

    def prove_writable(self, db: sqlite3.Connection) -> None:
        """Test that the file can be written, with a write that has no meaning."""
        with self.file.transaction(db, SHORT_TIMEOUT):
            [number] = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {(number + 1) % 1000}")

    def _prepare(self, db: sqlite3.Connection, removed: sqlite3.Connection | None) -> None:
        """Create missing tables and columns, and copy the rows of a removed file."""
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        lacking = [name for name in ADDED if name not in {row[1] for row in db.execute("PRAGMA table_info(spool)")}]
        if removed or lacking or not {"spool", "spool_subject", "aside"} <= there:  # else avoid a write
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
        """The readable rows of a removed file, which only this process still has open."""
        with suppress(sqlite3.Error):
            waiting = "SELECT item, subject, at, crc FROM spool WHERE seq > ? ORDER BY seq"
            yield from removed.execute(waiting, (self._sent_to,))
            yield from removed.execute("SELECT item, subject, at, crc FROM aside ORDER BY seq")

    def _remove_sent(self, db: sqlite3.Connection) -> None:
        with unless_locked():
            with self.file.transaction(db, SHORT_TIMEOUT):
                db.execute("DELETE FROM spool WHERE seq <= ?", (self._sent_to,))
            self._removed_to = self._sent_to

    def _remove_all(self, db: sqlite3.Connection) -> None:
        """Empty the table once all rows were sent: this needs 1 % of the disk space of removing row by row."""
        with self.file.transaction(db, SHORT_TIMEOUT):
            if not self._has_unsent(db):
                db.execute("DELETE FROM spool")
                self._removed_to = self._sent_to

    def _has_unsent(self, db: sqlite3.Connection) -> bool:
        return db.execute("SELECT 1 FROM spool WHERE seq > ? LIMIT 1", (self._sent_to,)).fetchone() is not None

    def _shrink(self, db: sqlite3.Connection) -> None:
        """Vacuum the file and truncate its log if no row waits; takes milliseconds.

        An empty log tells all receivers that no row waits (`Spool.is_empty`), so truncate it only under the lock.
        """
        [pages] = db.execute("PRAGMA page_count").fetchone()
        [free] = db.execute("PRAGMA freelist_count").fetchone()
        is_large = free > SLACK_PAGES and pages - free < MOVED_PAGES
        if _has_rows(db) or not (is_large or Path(f"{self.file.path}-wal").stat().st_size):
            return
        with self.file.lock.try_held() as is_held:
            if not is_held:
                return
            db.execute("BEGIN IMMEDIATE")  # wait for a writer that did not take the lock
            is_needed = _has_rows(db)
            db.execute("ROLLBACK")
            if not is_needed:
                if is_large:
                    db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _row(self, seq: int, item: object, crc: int | None) -> Row:
        """A row as read; without a checksum (from version 0.1) it counts as whole."""
        if not isinstance(item, bytes):
            return Row(seq, b"", False, self.file.number)
        return Row(seq, item, crc is None or zlib.crc32(item) == crc, self.file.number)


def _has_rows(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM spool LIMIT 1").fetchone() is not None
