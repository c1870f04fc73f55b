"""An SQLite file that the receivers of one host share.

The file may be replaced at any moment: moved away because it is damaged, or removed by an operator. So every call is
made on the file that is at the path before and after it; what was written into another one is written again.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from receiver.spool import damage, wal
from receiver.spool.line import Line, is_taken, wait_for

P = ParamSpec("P")
T = TypeVar("T")
IN_LINE = 1.0
"""Seconds in which writers go strictly one after the other; then whoever waits tries it out of line."""
OPENING = 5.0
"""Seconds that a start waits for those of other receivers."""
MOVES_APART = 60.0
"""Seconds between two files that are moved aside: a disk that damages every new one must not be filled with them."""

log = structlog.get_logger()


class SharedFile:
    """An SQLite file in WAL mode with `synchronous=FULL`: a transaction that returned is on the disk.

    `prepare` makes the tables of a file that was opened; it also gets the connection to the file that was open before,
    if that one was removed and only this process can still read it. Used from one thread at a time.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection, sqlite3.Connection | None], None]) -> None:
        self.path = path.resolve()  # as SQLite names its log and index
        self.number = 0
        """Of the file: another one after each that was opened."""
        self.line = Line(self.path)
        self._prepare = prepare
        self._db: sqlite3.Connection | None = None
        self._identity: damage.Identity | None = None
        self._moved_at = float("-inf")

    def run(self, call: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **more: P.kwargs) -> T:
        """What the call returns. Raises what SQLite does, except for damage: then the call is made on a new file."""
        for _ in range(3):
            try:
                result = call(self._current(), *arguments, **more)
            except sqlite3.Error as error:
                if not damage.is_damage(error):
                    raise
                self._move_aside(error, "damaged")
            else:
                if self._is_current():
                    return result
        raise OSError("replaced or damaged three times in a row")

    def run_even_if_locked(
        self, call: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **more: P.kwargs
    ) -> T:
        """The same, on a new file if this one is locked: a receiver that was frozen while it wrote may stay so.

        When that one goes on, it sees that its file was moved and writes into the new one, too.
        """
        try:
            return self.run(call, *arguments, **more)
        except sqlite3.OperationalError as error:
            if not is_taken(error):
                raise
            self._move_aside(error, "left")
        return self.run(call, *arguments, **more)

    @contextmanager
    def transaction(self, db: sqlite3.Connection, patience: float) -> Iterator[None]:
        """One transaction, all of it on the disk at its end or nothing of it ever; within a call of `run`.

        It waits `patience` seconds for other writers, then raises.
        """
        self._begin(db, patience)
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite has rolled back by itself after some errors, a full disk among them
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self._db:
            self._db.close()
        self.line.close()

    def _is_current(self) -> bool:
        return damage.identity(self.path) == self._identity

    def _current(self) -> sqlite3.Connection:
        return self._db if self._db and self._is_current() else self._open()

    def _open(self) -> sqlite3.Connection:
        """Open what is at the path, or begin a new file; the receivers of a host do this one after the other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.line.open()  # it may have been removed with the file
        old = self._db
        with self.line.first(OPENING):
            damage.finish_move(self.path)
            new = sqlite3.connect(self.path, timeout=OPENING, check_same_thread=False, isolation_level=None)
            try:
                self._set_up(new, None if damage.is_kept(self.path, self._identity) else old)
            except sqlite3.Error as error:
                if damage.is_damage(error):
                    self._keep(error, "damaged")
                new.close()
                raise
            self._db, self._identity = new, damage.identity(self.path)
        self.number += 1
        if old:
            old.close()
        return new

    def _set_up(self, db: sqlite3.Connection, removed: sqlite3.Connection | None) -> None:
        db.text_factory = readable
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA temp_store=MEMORY")  # VACUUM of a nearly empty file needs no other place
        self._check_log(db)
        self._prepare(db, removed)
        db.execute("PRAGMA busy_timeout=0")  # from here on `_begin` waits

    def _check_log(self, db: sqlite3.Connection) -> None:
        """Raise if there is more in the log than SQLite reads: it takes damage for a transaction that was not finished.

        What is more is looked at twice, because another receiver may have been finishing one just then.
        """
        for _ in range(2):
            finished = wal.finished_frames(Path(f"{self.path}-wal"))
            if finished == 0 or finished <= self._frames_read(db):
                return
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        error = sqlite3.DatabaseError("its log is damaged")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    def _frames_read(self, db: sqlite3.Connection) -> int:
        """How many frames of its log SQLite reads."""
        try:
            frames: int = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        except sqlite3.OperationalError as error:
            if not damage.is_lack_of_room(error):
                raise
            return wal.frames_in_index(Path(f"{self.path}-shm"))
        return frames

    def _move_aside(self, error: sqlite3.Error, kind: damage.Kind) -> None:
        with self.line.first(OPENING):
            if self._db and self._is_current():  # else another receiver has done it
                self._keep(error, kind)
        if self._db:
            self._db.close()  # only now: in its place, closing it would write what is in its log into the file
        self._db = None

    def _keep(self, error: sqlite3.Error, kind: damage.Kind) -> None:
        if time.monotonic() - self._moved_at < MOVES_APART:
            raise OSError(f"{error}, again within a minute") from None
        self._moved_at = time.monotonic()
        kept = damage.move_aside(self.path, kind)
        if kind == "damaged":
            mend = f"python -m receiver spool recover {kept}"
            log.error("spool damaged: a new one is begun, the old one kept", error=str(error), mend=mend)
        else:
            log.warning("spool locked by a receiver that does not go on: a new one is begun", left=str(kept))

    def _begin(self, db: sqlite3.Connection, patience: float) -> None:
        """Begin to write, after whoever is writing now."""
        deadline = time.monotonic() + patience
        with self.line.first(min(IN_LINE, patience)):
            wait_for(lambda: db.execute("BEGIN IMMEDIATE"), deadline)


def readable(text: bytes) -> str:
    """Text of a file in which anything may be damaged."""
    return text.decode("utf-8", "replace")
