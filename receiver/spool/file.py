"""An SQLite file that the receivers of one host share.

The file may be replaced at any moment: moved away because it is damaged, or removed by an operator. So each call checks
that the same file is at the path before and after it; otherwise it is repeated on the new file.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from receiver.spool import damage, wal
from receiver.spool.lock import WriteLock, is_locked, wait_for

P = ParamSpec("P")
T = TypeVar("T")
FAIR_SECONDS = 1.0
"""Seconds for which a writer waits for the write lock; then it tries SQLite's own lock without it."""
OPEN_TIMEOUT = 5.0
"""Seconds for which an opening receiver waits for others that open or move the file."""
MOVE_INTERVAL = 60.0
MOST_MOVES: dict[damage.Kind, int] = {"damaged": 5, "left": 1}
"""Most moves of a file in so many seconds: kept files must not fill a disk that damages every new file."""

log = structlog.get_logger()


class SharedFile:
    """An SQLite file in WAL mode with `synchronous=FULL`: a committed transaction is on disk.

    `prepare` creates the tables of an opened file. Its second argument is the connection to the previous file, if that
    one was removed and only this process can still read it. Not for concurrent threads.
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection, sqlite3.Connection | None], None]) -> None:
        self.path = path.resolve()  # as SQLite names its log and index
        self.number = 0
        """Identifies the open file; it changes with each opening."""
        self.lock = WriteLock(self.path)
        self._prepare = prepare
        self._db: sqlite3.Connection | None = None
        self._identity: damage.Identity | None = None
        self._moves: list[tuple[float, damage.Kind]] = []

    def run(self, call: Callable[Concatenate[sqlite3.Connection, P], T], *arguments: P.args, **more: P.kwargs) -> T:
        """Run the call; after damage, run it again on a new file. Raises SQLite's other errors."""
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
        """As `run`, but on a new file if this one stays locked, because a frozen receiver may hold the lock for ever.

        When the frozen one goes on, it finds its file moved and repeats its write in the new file.
        """
        try:
            return self.run(call, *arguments, **more)
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
            self._move_aside(error, "left")
        return self.run(call, *arguments, **more)

    @contextmanager
    def transaction(self, db: sqlite3.Connection, timeout: float) -> Iterator[None]:
        """One transaction, committed to disk at the end of the block; use it within a call of `run`.

        Waits `timeout` seconds for other writers, then raises.
        """
        self._begin(db, timeout)
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # after some errors, such as a full disk, SQLite has rolled back already
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        if self._db:
            self._db.close()
        self.lock.close()

    def _is_current(self) -> bool:
        return damage.identity(self.path) == self._identity

    def _current(self) -> sqlite3.Connection:
        return self._db if self._db and self._is_current() else self._open()

    def _open(self) -> sqlite3.Connection:
        """Open or create the file at the path, holding the write lock of this host's receivers."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.lock.open()  # the lock file may have been removed too
        old = self._db
        with self.lock.held(OPEN_TIMEOUT):
            damage.finish_move(self.path)
            new = sqlite3.connect(self.path, timeout=OPEN_TIMEOUT, check_same_thread=False, isolation_level=None)
            try:
                self._set_up(new, None if damage.is_kept(self.path, self._identity) else old)
            except sqlite3.Error as error:
                with closing(new):  # after the move: before it, closing would write the log's content into the file
                    if damage.is_damage(error):
                        self._keep(error, "damaged")
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
        db.execute("PRAGMA temp_store=MEMORY")  # else VACUUM needs a writable temporary folder
        self._check_log(db)
        self._prepare(db, removed)
        db.execute("PRAGMA busy_timeout=0")  # from here on `_begin` does the waiting

    def _check_log(self, db: sqlite3.Connection) -> None:
        """Raise if the log has more committed frames than SQLite reads: SQLite takes damage for the end of the log.

        Checks twice, because another receiver may have been committing at the first check.
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
        """The number of frames of its log that SQLite reads."""
        try:
            frames: int = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
        except sqlite3.OperationalError as error:
            if not damage.is_lack_of_room(error):
                raise
            return wal.frames_in_index(Path(f"{self.path}-shm"))
        return frames

    def _move_aside(self, error: sqlite3.Error, kind: damage.Kind) -> None:
        with self.lock.held(OPEN_TIMEOUT):
            if self._db and self._is_current():  # else another receiver has done it
                self._keep(error, kind)
        if self._db:
            self._db.close()  # after the move: before it, closing would write the log's content into the file
        self._db = None

    def _keep(self, error: sqlite3.Error, kind: damage.Kind) -> None:
        now = time.monotonic()
        self._moves = [move for move in self._moves if now - move[0] < MOVE_INTERVAL]
        if sum(moved == kind for _, moved in self._moves) >= MOST_MOVES[kind]:
            raise OSError(f"{error}, again within a minute") from None
        self._moves.append((now, kind))
        kept = damage.move_aside(self.path, kind)
        if kind == "damaged":
            mend = f"python -m receiver spool recover {kept}"
            log.error("spool damaged: a new one is begun, the old one kept", error=str(error), mend=mend)
        else:
            log.warning("spool locked by a receiver that does not go on: a new one is begun", left=str(kept))

    def _begin(self, db: sqlite3.Connection, timeout: float) -> None:
        """Begin a transaction, after the current writer's."""
        deadline = time.monotonic() + timeout
        with self.lock.held(min(FAIR_SECONDS, timeout)):
            wait_for(lambda: db.execute("BEGIN IMMEDIATE"), deadline)


def readable(text: bytes) -> str:
    """Decode text of a file that may be damaged."""
    return text.decode("utf-8", "replace")
