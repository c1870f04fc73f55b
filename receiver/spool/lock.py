"""A lock with which the receivers of one host take turns to write or open the spool.

SQLite's own lock is not fair: a waiting writer sleeps longer after each try, so that a busy receiver kept another one
out until its time-out. Here each writer takes this lock first, and has to take it again for the next write.
"""

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


class WriteLock:
    """A lock on a file beside the spool; the kernel releases it when the process ends."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._lock: TextIO | None = None

    def open(self) -> None:
        """Open the lock file. Call it before the other methods, and again when the file may have been removed."""
        self.close()
        self._lock = beside(self._spool, ".next")

    def close(self) -> None:
        if self._lock:
            self._lock.close()

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """Hold the lock in the block. After `timeout` seconds the block runs without it: the holder may be frozen."""
        with suppress(BlockingIOError):
            wait_for(self._acquire, time.monotonic() + timeout)
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def try_held(self) -> Iterator[bool]:
        """Hold the lock in the block if it is free; yields whether it is held."""
        try:
            self._acquire()
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            self._release()

    def _acquire(self) -> None:
        assert self._lock is not None  # noqa: S101 - see `open`
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(self) -> None:
        assert self._lock is not None  # noqa: S101 - see `open`
        fcntl.flock(self._lock, fcntl.LOCK_UN)


def beside(spool: Path, end: str) -> TextIO:
    """A lock file beside the spool."""
    return spool.with_name(spool.name + end).open("a", encoding="ascii")


def wait_for(acquire: Callable[[], object], deadline: float) -> None:
    """Take a lock, trying every millisecond. Raises the error of the last try after the deadline."""
    while True:
        try:
            acquire()
        except (BlockingIOError, sqlite3.OperationalError) as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


@contextmanager
def unless_locked() -> Iterator[None]:
    """Skip the rest of the block if another process holds a lock: for work that can be done later."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not is_locked(error):
            raise


def is_locked(error: Exception) -> bool:
    """Whether an error means that another process holds a lock."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, BlockingIOError) or code & 0xFF == sqlite3.SQLITE_BUSY
