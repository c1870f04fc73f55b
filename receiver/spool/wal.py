"""SQLite's write-ahead log: reads the transactions that SQLite skips in a damaged one.

After a crash SQLite reads a log up to the first frame with a wrong checksum, because a transaction that was not
committed ends like that. In a damaged log, committed transactions follow that frame.

A log is a header of 32 bytes, then frames, each a header of 24 bytes and a page. Each checksum includes the one before
it. Frames repeat the salts of the log's header; frames with other salts are left from an earlier use of the file
(https://www.sqlite.org/fileformat2.html#walformat).
"""

import os
import struct
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
HEADER, FRAME = 32, 24 + PAGE
MAGIC = {"big": 0x377F0683, "little": 0x377F0682}
"""The first number of a log tells the byte order of its checksums."""
VERSION = 3007000
Sums = tuple[int, int]


class Frame(NamedTuple):
    """A page written by a transaction. `pages` is the file's size in a transaction's last frame, 0 in all others."""

    number: int
    pages: int
    salts: bytes
    sums: Sums
    page: bytes

    @property
    def summed(self) -> bytes:
        """The bytes that the checksum covers."""
        return struct.pack(">2I", self.number, self.pages) + self.page


def finished_frames(path: Path) -> int:
    """The number of frames of committed transactions, ignoring checksums; 0 if there is no log."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size:
            with mmap(file.fileno(), 0, access=ACCESS_READ) as log:
                return _finished(log)
    return 0


def frames_in_index(index: Path) -> int:
    """The number of frames that SQLite reads, from its index (mxFrame, https://www.sqlite.org/walformat.html)."""
    return int.from_bytes(index.read_bytes()[16:20], sys.byteorder)


def mended(log: bytes) -> bytes:
    """The log without damaged frames, with new checksums that SQLite accepts."""
    salts, has_header = _salts(log), _has_header(log)
    head = log[:24] if has_header else struct.pack(">4I", MAGIC[sys.byteorder], VERSION, PAGE, 0) + salts
    order = "big" if head[3] & 1 else "little"
    sums = _sums(head, (0, 0), order)
    parts = [head, struct.pack(">2I", *sums)]
    before = sums if has_header else None  # the previous frame's checksum; None: unknown
    for frame in list(_frames(log))[: _finished(log)]:
        if frame.salts != salts:
            before = None
            continue
        is_whole = before is None or _sums(frame.summed, before, order) == frame.sums
        before = frame.sums if is_whole else None
        if is_whole:
            sums = _sums(frame.summed, sums, order)
            parts += [frame.summed[:8], salts, struct.pack(">2I", *sums), frame.page]
    return b"".join(parts)


def _finished(log: bytes | mmap) -> int:
    salts = _salts(log)
    return max((n for n, frame in enumerate(_frames(log), 1) if frame.salts == salts and frame.pages), default=0)


def _frames(log: bytes | mmap) -> Iterator[Frame]:
    for start in range(HEADER, len(log) - FRAME + 1, FRAME):
        number, pages, salts, *sums = struct.unpack_from(">2I8s2I", log, start)
        yield Frame(number, pages, salts, (sums[0], sums[1]), log[start + 24 : start + FRAME])


def _salts(log: bytes | mmap) -> bytes:
    """The salts of the header, or of the first frame if the header is damaged."""
    return log[16:24] if _has_header(log) else log[HEADER + 8 : HEADER + 16]


def _has_header(log: bytes | mmap) -> bool:
    magic, version, size = struct.unpack_from(">3I", log[:HEADER].ljust(HEADER, b"\0"))
    if magic not in MAGIC.values() or (version, size) != (VERSION, PAGE):
        return False
    return _sums(log[:24], (0, 0), "big" if magic & 1 else "little") == struct.unpack(">2I", log[24:HEADER])


def _sums(data: bytes, sums: Sums, order: str) -> Sums:
    numbers = array("I", data)
    if order != sys.byteorder:
        numbers.byteswap()
    one, two = sums
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
