"""A damaged log is noticed, and read to its end; one that a crash cut short is none."""

import sqlite3
from pathlib import Path

import pytest

from receiver.spool import Spool, wal
from tests.receiver.spool.conftest import entries, everything, kept_beside, size_of

ITEMS = [b"%03d" % number * 1000 for number in range(100)]  # a page each


async def left_by_a_killed_receiver(path: Path) -> None:
    """A spool whose items are all in the log, as a receiver leaves it that ends at once."""
    spool = Spool(path)
    for item in ITEMS:
        await spool.write(entries(item))
    files = {end: path.with_name(path.name + end).read_bytes() for end in ("", "-wal")}
    await spool.close()
    for end, content in files.items():
        path.with_name(path.name + end).write_bytes(content)


def harm(path: Path, at: int, content: bytes) -> None:
    with path.with_name("spool.db-wal").open("r+b") as file:
        file.seek(at)
        file.write(content)


async def test_what_a_killed_receiver_left_is_read(path: Path) -> None:
    """All of it, and nothing is taken for damage."""
    await left_by_a_killed_receiver(path)
    spool = Spool(path)
    await spool.look()
    assert spool.damaged == []
    assert await everything(spool) == ITEMS
    await spool.close()


@pytest.mark.parametrize("cut", [1, wal.FRAME, wal.FRAME + 100])
async def test_a_transaction_that_was_not_finished_is_no_damage(path: Path, cut: int) -> None:
    """A log that ends in the middle of a transaction is what a crash leaves: nobody was told that it was stored."""
    await left_by_a_killed_receiver(path)
    with path.with_name("spool.db-wal").open("r+b") as file:
        file.truncate(size_of(path, "-wal") - cut)
    spool = Spool(path)
    await spool.look()
    assert spool.damaged == []
    assert await everything(spool) == ITEMS[:99]
    await spool.close()


async def test_what_is_left_of_an_earlier_use_is_no_damage(path: Path) -> None:
    """SQLite begins again at the start of a log that it has brought to the file, and leaves the rest as it is."""
    spool = Spool(path)
    for item in ITEMS:
        await spool.write(entries(item))
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(RESTART)")
    db.close()
    await spool.write(entries(b"last"))
    again = Spool(path)
    await again.look()
    assert again.damaged == []
    assert await everything(again) == [*ITEMS, b"last"]
    await again.close()
    await spool.close()


@pytest.mark.parametrize(
    ("at", "content"),
    [
        (wal.HEADER + 20 * wal.FRAME + 2000, b"\xa5" * 8),
        (wal.HEADER + 20 * wal.FRAME, b"\xa5" * 24),
        (wal.HEADER + 20 * wal.FRAME + 20, b"\xa5" * 8),
        (4096 * 20, b"\xa5" * 4096),
        (0, b"\xa5" * wal.HEADER),
    ],
    ids=["page", "frame header", "checksum", "a block of the disk", "log header"],
)
async def test_a_damaged_log_is_moved_aside_and_read_to_its_end(path: Path, at: int, content: bytes) -> None:
    """What SQLite would have left out without a word, a hundred transactions but twenty, is said to be damaged."""
    await left_by_a_killed_receiver(path)
    harm(path, at, content)
    spool = Spool(path)
    await spool.look()
    kept = kept_beside(path)
    assert spool.damaged == [kept.name]
    await spool.close()
    found = mended_items(kept)
    assert len(found) >= 97
    assert found == [item for item in ITEMS if item in set(found)]


def mended_items(kept: Path) -> list[bytes]:
    """What SQLite reads of a file whose log was mended, row by row."""
    file = kept.with_name(kept.name + "-wal")
    file.write_bytes(wal.mended(file.read_bytes()))
    db = sqlite3.connect(kept)
    found = []
    for number in range(1, 101):
        try:
            row = db.execute("SELECT item FROM spool WHERE seq = ?", (number,)).fetchone()
        except sqlite3.DatabaseError:
            continue
        found += [bytes(row[0])] if row else []
    db.close()
    return found


async def test_an_unharmed_log_stays_as_it_is(path: Path) -> None:
    """Byte for byte: the checksums are SQLite's."""
    await left_by_a_killed_receiver(path)
    file = path.with_name("spool.db-wal")
    content = file.read_bytes()
    assert wal.mended(content) == content
    assert wal.finished_frames(file) == (len(content) - wal.HEADER) // wal.FRAME
