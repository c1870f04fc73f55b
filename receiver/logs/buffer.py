"""What a process says, on its way out: a buffer of bounded size, written by a thread of its own.

A log on a full disk raises, and one in a pipe that nobody reads blocks, whoever writes to it: an event loop among them.
Here neither can: `write` takes what there is room for, drops the rest and counts it. What could not be written is tried
again for as long as the process lives; once it can be, a note says how much is missing at that place.
"""

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

LIMIT = 4 << 20
"""Bytes that wait at most: some 18 000 lines, about three seconds of a worker at its fastest."""
_PIECE = 1 << 18
"""Bytes that are written at once: few calls, because the thread has to wait for the GIL after each. To a pipe it is
PIPE_BUF, so that lines of several processes in one pipe stay whole."""
_GATHER = 0.01
"""Seconds for which lines are gathered before they are written: waking a thread for each costs more than the line."""
_RETRY = 0.5
"""Seconds between two tries to write where the system refuses."""


class LogBuffer:
    """Writes to a file descriptor. `note` makes the line that says that so many were dropped."""

    def __init__(self, descriptor: int, note: Callable[[int], bytes], limit: int = LIMIT) -> None:
        self.descriptor, self._note, self._limit = descriptor, note, limit
        self._piece = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else _PIECE
        self.dropped = 0
        self._told, self._told_at = 0, 0.0
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # a thread does not survive a fork, a lock that it holds does

    def _reset(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.RLock()  # reentrant: the collector may run a finalizer that logs at any moment
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._is_idle = False

    def write(self, lines: bytes) -> None:
        """Take whole lines. Does not wait and does not raise."""
        with self._lock:
            if self._size + len(lines) > self._limit:
                self.dropped += lines.count(b"\n")
                return
            self._size += len(lines)
            self._waiting.append(lines)
            if self._is_idle:
                self._is_idle = False
                self._changed.notify_all()
        if self._thread is None:
            self._start()

    def flush(self, within: float) -> None:
        """Return once everything is written, after `within` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, within)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends: the next line tries again
            self._thread = None

    def _run(self) -> None:
        while True:
            piece = self._next()
            self._insist(piece)
            with self._changed:
                self._size -= len(piece)
                if self.dropped > self._told and time.monotonic() - self._told_at > 1:
                    self._tell()
                self._changed.notify_all()

    def _tell(self) -> None:
        """Add a note, once a second at most, behind the lines that there was still room for."""
        note = self._note(self.dropped - self._told)
        self._told, self._told_at = self.dropped, time.monotonic()
        self._size += len(note)
        self._waiting.append(note)

    def _next(self) -> bytes:
        """What to write next, once there is something."""
        if not self._waiting:
            self._wait()
            time.sleep(_GATHER)
        with self._lock:
            piece = [self._waiting.popleft()]
            size = len(piece[0])
            while self._waiting and size + len(self._waiting[0]) <= self._piece:
                size += len(self._waiting[0])
                piece.append(self._waiting.popleft())
        return b"".join(piece)

    def _wait(self) -> None:
        with self._changed:
            while not self._waiting:
                self._is_idle = True
                untold = self.dropped > self._told
                if not self._changed.wait(1 if untold else None):
                    self._tell()

    def _insist(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except OSError:  # a full disk, a reader that is gone; or one that is slow, where somebody set O_NONBLOCK
                time.sleep(_RETRY)
