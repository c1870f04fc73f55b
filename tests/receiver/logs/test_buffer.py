"""What a process says on its way out: in order, whole lines, without waiting; what is lost is counted and told."""

import os
import threading
import time
from pathlib import Path

import pytest

from receiver.logs.buffer import LIMIT, LogBuffer


def note(count: int) -> bytes:
    return b"%d dropped\n" % count


class Pipe:
    """A pipe whose reader stands still until it is told to read. Never closed: a thread may still write to it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._read = b""

    def read_until(self, end: bytes) -> list[bytes]:
        """All lines so far, once `end` has come."""
        while end not in self._read:
            self.read_more()
        return self._read.splitlines()

    def read_more(self) -> list[bytes]:
        self._read += os.read(self.reader, 1 << 20)
        return self._read.splitlines()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def test_every_line_is_written_once_and_in_the_order_of_its_thread(tmp_path: Path) -> None:
    """Four threads at once, none of whose lines is lost, torn or overtaken."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        buffer = LogBuffer(file.fileno(), note)

        def say(name: int) -> None:
            for number in range(2000):
                buffer.write(b"%d %d\n" % (name, number))

        threads = [threading.Thread(target=say, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        buffer.flush(20)
    lines = [tuple(map(int, line.split())) for line in path.read_text(encoding="ascii").splitlines()]
    assert len(lines) == 8000
    assert all([number for who, number in lines if who == name] == list(range(2000)) for name in range(4))
    assert buffer.dropped == 0


def test_a_reader_that_stands_still_holds_nobody_up(pipe: Pipe) -> None:
    """What there is no room for is dropped and counted; once it is read again, a note says how much is missing."""
    buffer = LogBuffer(pipe.writer, note)
    line = b"x" * 999 + b"\n"
    sent = 4 * LIMIT // len(line)
    started = time.monotonic()
    for _ in range(sent):
        buffer.write(line)
    assert time.monotonic() - started < 2
    assert sent * len(line) - buffer.dropped * len(line) <= LIMIT + (1 << 17)  # and what is in the pipe
    lines = pipe.read_until(b"dropped\n")
    while sum(dropped := [int(line.split()[0]) for line in lines if line.endswith(b"dropped")]) < buffer.dropped:
        lines = pipe.read_more()
    assert len(dropped) < 5
    assert lines.count(line.strip()) == len(lines) - len(dropped) == sent - buffer.dropped
    buffer.write(b"again\n")
    assert pipe.read_until(b"again\n")[-1] == b"again"


def test_a_disk_that_is_full_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that there was room for is lost, and a line of which half was written is not written twice."""
    room = [5, -1, -1, 1 << 20]
    write = os.write

    def narrow(descriptor: int, data: memoryview) -> int:
        if (allowed := room.pop(0) if len(room) > 1 else room[0]) < 0:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:allowed])

    monkeypatch.setattr("receiver.logs.buffer.os.write", narrow)
    monkeypatch.setattr("receiver.logs.buffer._RETRY", 0.01)
    path = tmp_path / "log"
    with path.open("wb") as file:
        buffer = LogBuffer(file.fileno(), note)
        buffer.write(b"first line\nsecond line\n")
        buffer.flush(20)
    assert path.read_bytes() == b"first line\nsecond line\n"


def test_a_flush_is_bounded(pipe: Pipe) -> None:
    """A process that ends does not wait for a reader that stands still."""
    buffer = LogBuffer(pipe.writer, note)
    buffer.write(b"x" * (1 << 20))
    started = time.monotonic()
    buffer.flush(0.1)
    assert 0.1 <= time.monotonic() - started < 2


def test_a_process_that_was_forked_writes_its_own_lines_and_no_others(pipe: Pipe) -> None:
    """It has no thread yet, and what waited in its parent is its parent's to write."""
    buffer = LogBuffer(pipe.writer, note)
    filler = b"x" * 999 + b"\n"
    for _ in range(200):  # more than the pipe takes: the thread is writing while the process is forked
        buffer.write(filler)
    child = os.fork()
    if not child:
        buffer.write(b"child\n")
        buffer.flush(20)
        os._exit(0)
    lines = pipe.read_until(b"child\n")
    assert os.waitpid(child, 0)[1] == 0
    buffer.write(b"parent\n")
    lines = pipe.read_until(b"parent\n")
    assert sorted(lines) == sorted([filler.strip()] * 200 + [b"child", b"parent"])


def test_a_line_from_within_a_line_is_taken(pipe: Pipe) -> None:
    """The garbage collector may run a finalizer that logs while its thread is in here."""

    class Line(bytes):
        def count(self, *_: object) -> int:  # as if the collector ran in there
            buffer.write(b"inner\n")
            return 1

    buffer = LogBuffer(pipe.writer, note, limit=20)
    buffer.write(Line(b"too long to be taken\n"))
    buffer.write(b"outer\n")
    assert b"outer" in pipe.read_until(b"outer\n")
    assert buffer.dropped >= 1
