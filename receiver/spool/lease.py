"""Whose turn it is to drain the spool that several receivers share."""

import fcntl
import os
import time
from pathlib import Path

from receiver.spool.line import beside

LEASE = 5.0
"""Seconds without a sign of life from the receiver whose turn it is, after which others do not wait for it."""


class Turn:
    """Whose turn it is to drain: one receiver's at a time, because two would do the same work twice.

    It does no harm when they do, so a receiver that holds the turn and shows no life for `LEASE` seconds is not waited
    for. The kernel ends the turn of a killed one.
    """

    def __init__(self, path: Path) -> None:
        self._lock = beside(path, ".drain")
        self._is_mine = False

    def take(self) -> bool:
        """Whether this receiver may drain now."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return abs(time.time() - os.fstat(self._lock.fileno()).st_mtime) > LEASE
        self._is_mine = True
        self.show_life()
        return True

    def show_life(self) -> None:
        """To be called more often than every `LEASE` seconds while it may be this receiver's turn."""
        if self._is_mine:
            os.utime(self._lock.fileno())

    def end(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._is_mine = False

    def close(self) -> None:
        self._lock.close()
