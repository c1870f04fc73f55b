"""The line in which receivers of one host wait to write or to open the spool, one after the other.

SQLite knows no queue, and waits longer each time that it finds the file locked: a receiver that wrote all the time
kept another one out until its time was up. Whoever has just written now has to line up again.
"""

import fcntl
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


class Line:
    """A lock on a file beside the spool; the kernel frees that of a process that ended."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._lock: TextIO | None = None

    def open(self) -> None:
        """To be called before the rest, and again when the file may have been removed."""
        self.close()
        self._lock = beside(self._spool, ".next")

    def close(self) -> None:
        if self._lock:
            self._lock.close()

    @contextmanager
    def first(self, patience: float) -> Iterator[None]:
        """The block runs as the only one; after `patience` seconds behind a process that is frozen, anyway."""
        with suppress(BlockingIOError):
            wait_for(self._take, time.monotonic() + patience)
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody else is there; nobody gets there during the block."""
        try:
            self._take()
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            self._leave()

    def _take(self) -> None:
        assert self._lock is not None  # noqa: S101 - see `open`
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _leave(self) -> None:
        assert self._lock is not None  # noqa: S101 - see `open`
        fcntl.flock(self._lock, fcntl.LOCK_UN)


def beside(spool: Path, end: str) -> TextIO:
    """A file beside the spool that is there to be locked."""
    return spool.with_name(spool.name + end).open("a", encoding="ascii")


def wait_for(take: Callable[[], object], deadline: float) -> None:
    """Take a lock, looking every millisecond whether it is free. Raises what the last look raised."""
    while True:
        try:
            take()
        except (BlockingIOError, sqlite3.OperationalError) as error:
            if not is_taken(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.001)
        else:
            return


@contextmanager
def unless_taken() -> Iterator[None]:
    """What need not be done now is left when somebody else holds a lock."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not is_taken(error):
            raise


def is_taken(error: Exception) -> bool:
    """Whether an error says that somebody else holds a lock."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, BlockingIOError) or code & 0xFF == sqlite3.SQLITE_BUSY
