"""A lease on draining the spool that several receivers share."""

import fcntl
import os
import time
from pathlib import Path

from receiver.spool.lock import beside

LEASE = 5.0
"""Seconds without a renewal after which the lease has expired."""


class DrainLease:
    """Lets one receiver drain at a time, because two would do the same work twice.

    Two at a time do no harm, because storing is idempotent: so the lease of a frozen receiver expires after `LEASE`
    seconds. The kernel releases that of a killed one.
    """

    def __init__(self, path: Path) -> None:
        self._lock = beside(path, ".drain")
        self._is_held = False

    def take(self) -> bool:
        """Whether this receiver may drain now."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return abs(time.time() - os.fstat(self._lock.fileno()).st_mtime) > LEASE
        self._is_held = True
        self.renew()
        return True

    def renew(self) -> None:
        """Renew the lease if it is held; call it more often than every `LEASE` seconds."""
        if self._is_held:
            os.utime(self._lock.fileno())

    def release(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._is_held = False

    def close(self) -> None:
        self._lock.close()
