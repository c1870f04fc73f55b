"""A bounded buffer for a process's output, written by its own thread.

Writing directly raises if the disk is full, and blocks the event loop if nobody reads the pipe. `write` does neither:
it buffers lines up to a limit, and drops and counts the rest. Failed writes are repeated while the process lives;
after dropped lines, a note in the log gives their number.
"""

import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable

LIMIT = 4 << 20
"""Most bytes buffered: about 18 000 lines, three seconds of a worker at full speed."""
_PIECE = 1 << 18
"""Bytes per write call: large, because the thread has to take the GIL again after each call. For a pipe it is PIPE_BUF,
so that the lines of several processes are not mixed."""
_GATHER = 0.01
"""Seconds for which lines are collected before a write: waking the thread costs more than a line."""
_RETRY = 0.5
"""Seconds between two tries after a failed write."""


class LogBuffer:
    """Writes to a file descriptor. `note` makes the line about the given number of dropped lines."""

    def __init__(self, descriptor: int, note: Callable[[int], bytes], limit: int = LIMIT) -> None:
        self.descriptor, self._note, self._limit = descriptor, note, limit
        self._piece = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(descriptor).st_mode) else _PIECE
        self.dropped = 0
        self._told, self._told_at = 0, 0.0
        self._reset()
        os.register_at_fork(
            after_in_child=self._reset
        )  # a fork copies locks that are held, but not the thread that holds them

    def _reset(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._lock = threading.RLock()  # reentrant: garbage collection may run a finalizer that logs
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        self._is_idle = False

    def write(self, lines: bytes) -> None:
        """Buffer whole lines. Does not wait and does not raise."""
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
        """Wait until everything is written, at most `within` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._size, within)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending: the next line tries again
            self._thread = None

    def _run(self) -> None:
        while True:
            piece = self._next()
            self._write_all(piece)
            with self._changed:
                self._size -= len(piece)
                if self.dropped > self._told and time.monotonic() - self._told_at > 1:
                    self._tell()
                self._changed.notify_all()

    def _tell(self) -> None:
        """Add a note about dropped lines behind the buffered ones; at most once a second."""
        note = self._note(self.dropped - self._told)
        self._told, self._told_at = self.dropped, time.monotonic()
        self._size += len(note)
        self._waiting.append(note)

    def _next(self) -> bytes:
        """Wait for lines, and return the next piece to write."""
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

    def _write_all(self, piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except OSError:  # a full disk, a closed pipe, or a full pipe with O_NONBLOCK
                time.sleep(_RETRY)
