"""A damaged or removed spool file: kept, replaced, and noticed by whoever still has it open."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from receiver.spool import Spool, SpoolError, damage
from tests.receiver.spool.conftest import (
    PAGE,
    checkpoint,
    connection_of,
    entries,
    everything,
    kept_beside,
    overwrite,
    page_of,
    size_of,
)

NAMES = [b"%03d" % number for number in range(100)]


async def filled(path: Path, size: int = 500) -> None:
    """A spool with a hundred items that nobody has open, all of it in the file."""
    spool = Spool(path)
    await spool.write(entries(*(name * (size // 3) for name in NAMES)))
    await spool.close()


def bytes_of(path: Path, end: str = "") -> bytes:
    return path.with_name(path.name + end).read_bytes()


def write_garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but long enough to be taken for one" * 100)


def open_files() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - of numbers, not of paths


def cut(path: Path) -> None:
    os.truncate(path, 5000)


def overwrite_tables(path: Path) -> None:
    overwrite(path, 1)


def overwrite_index(path: Path) -> None:
    overwrite(path, page_of(path, "spool_subject"))


@pytest.mark.parametrize("harm", [write_garbage, cut, overwrite_tables, overwrite_index])
async def test_a_file_that_is_damaged_at_the_start_is_kept_and_replaced(
    path: Path, harm: Callable[[Path], None]
) -> None:
    """The receiver starts, stores in a new file and says where the old one is, with its log and unchanged."""
    await filled(path)
    harm(path)
    content = bytes_of(path)
    with structlog.testing.capture_logs() as logs:
        spool = Spool(path)
        await spool.write(entries(b"new", subject="action:a"))
    kept = kept_beside(path)
    assert await everything(spool) == [b"new"]
    await spool.look()
    assert spool.damaged == [kept.name]
    assert bytes_of(kept) == content
    assert kept.with_name(kept.name + "-wal").exists()
    assert f"python -m receiver spool recover {kept}" in {line.get("mend") for line in logs}
    await spool.close()


async def test_a_file_that_is_damaged_while_it_is_used_is_kept_and_replaced(path: Path) -> None:
    """What is written after the damage was met is in the new file; what is in the log of the old one stays with it."""
    await filled(path, size=9000)  # three pages each
    spool = Spool(path)
    overwrite(path, size_of(path) // PAGE - 10)
    await spool.write(entries(b"in the log"))
    assert await everything(spool) == []
    kept = kept_beside(path)
    assert size_of(kept, "-wal") > 0
    await spool.write(entries(b"new"))
    assert await everything(spool) == [b"new"]
    await spool.close()


async def test_every_receiver_notices_that_the_file_was_moved(path: Path) -> None:
    """Who has the damaged file open writes into the new one, and reads nothing of the old one."""
    one, other = Spool(path), Spool(path)
    await one.write(entries(*NAMES))
    rows = await other.read(10, 1000)
    checkpoint(path)
    kept = damage.move_aside(path)
    await one.write(entries(b"one"))
    await other.write(entries(b"other"))
    await other.forget(rows[-1])  # of the old file
    assert await everything(other) == [b"one", b"other"]
    await one.look()
    await other.look()
    assert one.damaged == other.damaged == [kept.name]
    await one.close()
    await other.close()


async def test_a_write_that_ended_in_a_moved_file_is_made_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved between the begin and the end of a transaction: the answer waits until the new file has it."""
    spool = Spool(path)
    moved: list[Path] = []

    def move_once(_: bytes) -> int:
        if not moved:
            moved.append(damage.move_aside(path))
        return 0

    monkeypatch.setattr("receiver.spool.tables.zlib.crc32", move_once)
    await spool.write(entries(b"1"))
    assert moved
    assert await everything(spool) == [b"1"]
    await spool.close()


async def test_a_removed_file_is_replaced_and_what_it_held_brought_over(path: Path) -> None:
    """After `rm spool.db*` the receiver has what was there, and what comes: nobody else could read it any more."""
    spool = Spool(path)
    await spool.write(entries(b"0", b"1", b"2", subject="action:a"))
    await spool.set_aside((await spool.read(1, 1000))[0], "too slow")
    await spool.forget((await spool.read(1, 1))[-1])
    for left in path.parent.glob("spool.db*"):
        left.unlink()
    await spool.write(entries(b"3"))
    assert await everything(spool) == [b"2", b"0", b"3"]
    assert await spool.waiting({"action:a"}) == {"action:a"}
    again = Spool(path)
    await again.look()
    assert (again.depth, again.damaged) == (3, [])
    await again.close()
    await spool.close()


async def test_a_removed_folder_is_made_again(tmp_path: Path) -> None:
    """Nothing of the way to the file has to be there."""
    deep = tmp_path / "a" / "b" / "spool.db"
    spool = Spool(deep)
    await spool.write(entries(b"1"))
    deep.parent.rename(tmp_path / "c")
    (tmp_path / "a").rmdir()
    await spool.write(entries(b"2"))
    assert await everything(spool) == [b"1", b"2"]
    await spool.close()


async def test_a_move_that_was_interrupted_is_finished(path: Path) -> None:
    """A receiver killed in the middle of moving a file leaves its log to that file, not to the new one."""
    spool = Spool(path)
    await spool.write(entries(b"1", b"2"))
    content = bytes_of(path, "-wal")
    os.rename(path, f"{path}.damaged-20261126T000000Z")  # noqa: PTH104 - as a process that is killed right after it
    again = Spool(path)
    assert await everything(again) == []
    kept = kept_beside(path)
    assert bytes_of(kept, "-wal") == content
    await spool.close()
    await again.close()


async def test_a_disk_that_damages_every_file_is_not_filled_with_them(path: Path) -> None:
    """A few damaged files in a minute are replaced, so that a 200 is still one; then Redis alone stores meanwhile."""
    write_garbage(path)
    spool = Spool(path)
    for _ in range(5):
        await spool.write(entries(b"1"))
        connection_of(spool).close()
        spool._tables.file._db = None
        write_garbage(path)
    open_before = open_files()
    for _ in range(20):  # with each delivery it is tried again
        with pytest.raises(SpoolError, match="again within a minute"):
            await spool.write(entries(b"1"))
    assert open_files() == open_before
    assert len(damage.kept_files(path, "damaged")) == 5
    assert spool.trouble
    await spool.close()


async def test_a_full_disk_is_no_damage(path: Path) -> None:
    """The file stays where it is when it could not be written, and is used on."""
    spool = Spool(path)
    await spool.write(entries(b"1"))
    connection_of(spool).execute("PRAGMA max_page_count=6")
    with pytest.raises(SpoolError, match="full"):
        await spool.write(entries(b"x" * 100_000))
    assert damage.kept_files(path, "damaged") == []
    assert await everything(spool) == [b"1"]
    await spool.close()


def test_only_what_sqlite_says_of_the_content_is_damage(tmp_path: Path) -> None:
    """A lock, a missing table and a file that is not there are something else."""
    db = sqlite3.connect(tmp_path / "other.db")
    with pytest.raises(sqlite3.OperationalError) as error:
        db.execute("SELECT * FROM nothing")
    db.close()
    assert not damage.is_damage(error.value)
    with pytest.raises(sqlite3.OperationalError) as error:
        sqlite3.connect(tmp_path / "no" / "folder.db")
    assert not damage.is_damage(error.value)
