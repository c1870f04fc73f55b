"""What waits on disk is there in order, whatever happens to the process that wrote it."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from receiver.spool import Spool, SpoolError
from tests.conftest import ROOT, Start, wait_until

WRITER = """
import asyncio, sys
from pathlib import Path
from receiver.spool import Spool

async def write(name):
    spool = Spool(Path("spool.db"))
    number = 0
    while True:
        await spool.write([f"{name}:{number + i}".encode() for i in range(7)])
        number += 7
        print(number, flush=True)

asyncio.run(write(sys.argv[1]))
"""
LIMITED = """
import asyncio, resource, signal
from pathlib import Path
from receiver.spool import Spool, SpoolError

async def fill():
    spool = Spool(Path("spool.db"))
    await spool.write([b"first"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        await spool.write([b"x" * 400_000])
        print("stored", flush=True)
    except SpoolError as error:
        print("refused:", error, flush=True)
    await spool.write([b"last"])
    print([item for _, item in await spool.read(10, 1 << 20)], spool.depth, flush=True)
    await spool.close()

asyncio.run(fill())
"""
as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Spool]:
    spool = Spool(tmp_path / "spool.db")
    yield spool
    await spool.close()


async def everything(spool: Spool) -> list[bytes]:
    return [item for _, item in await spool.read(1_000_000, 1 << 30)]


async def test_items_come_back_in_the_order_written(spool: Spool) -> None:
    """First in, first out, over several transactions."""
    await spool.write([b"1", b"2"])
    await spool.write([b"3"])
    assert spool.depth == 3
    assert await everything(spool) == [b"1", b"2", b"3"]


async def test_what_is_forgotten_is_gone_and_the_rest_stays(spool: Spool) -> None:
    """Draining half of it leaves the other half, and says how deep it is."""
    await spool.write([b"1", b"2", b"3"])
    (seq, _), *_ = await spool.read(2, 1000)
    await spool.forget(seq)
    assert spool.depth == 2
    assert await everything(spool) == [b"2", b"3"]


async def test_a_read_is_bounded_in_count_and_bytes(spool: Spool) -> None:
    """A batch fits into one call, and an item larger than the bound is not stuck for ever."""
    await spool.write([b"12345", b"12345", b"123456789012345", b"1"])
    assert len(await spool.read(1, 1000)) == 1
    assert len(await spool.read(10, 10)) == 2
    await spool.forget(2)
    assert len(await spool.read(10, 10)) == 1


async def test_it_survives_close_and_reopen(tmp_path: Path) -> None:
    """A restart of the receiver finds what it left, behind it what comes after."""
    first = Spool(tmp_path / "spool.db")
    await first.write([b"1", b"2"])
    await first.close()
    second = Spool(tmp_path / "spool.db")
    await second.write([b"3"])
    assert second.depth == 3
    assert await everything(second) == [b"1", b"2", b"3"]
    await second.close()


async def test_numbers_are_not_used_again(spool: Spool) -> None:
    """What is written after a drain is not forgotten with what was drained before."""
    await spool.write([b"1"])
    [(seq, _)] = await spool.read(10, 1000)
    await spool.forget(seq)
    await spool.write([b"2"])
    await spool.forget(seq)
    assert await everything(spool) == [b"2"]


async def test_kill_9_in_mid_write_loses_nothing_that_was_written(tmp_path: Path, start: Start) -> None:
    """A killed writer leaves whole batches: all that it was told were stored, and at most one more."""
    writer = start("-c", WRITER, "a")
    wait_until(lambda: len(writer.output.split()) > 20, explain=lambda: writer.output)
    writer.signal(signal.SIGKILL)
    writer.wait()
    told = int(writer.output.split()[-1])
    spool = Spool(tmp_path / "spool.db")
    found = await everything(spool)
    assert found == [f"a:{number}".encode() for number in range(len(found))]
    assert len(found) in {told, told + 7}
    await spool.close()


async def test_two_processes_share_the_file(tmp_path: Path, start: Start) -> None:
    """Receivers on one host write side by side, and each one's items keep their order."""
    writers = {name: start("-c", WRITER, name) for name in "ab"}
    wait_until(lambda: all(len(writer.output.split()) > 10 for writer in writers.values()))
    for writer in writers.values():
        writer.signal(signal.SIGKILL)
        writer.wait()
    spool = Spool(tmp_path / "spool.db")
    found = [item.decode() for item in await everything(spool)]
    for name, writer in writers.items():
        own = [item for item in found if item.startswith(name)]
        assert own == [f"{name}:{number}" for number in range(len(own))]
        assert len(own) >= int(writer.output.split()[-1])
    await spool.close()


async def test_a_busy_writer_does_not_keep_another_out(tmp_path: Path, start: Start) -> None:
    """However much one receiver spools, another one's delivery is stored, too, every time and well within a second."""
    writers = [start("-c", WRITER, name) for name in "ab"]
    wait_until(lambda: all(len(writer.output.split()) > 3 for writer in writers))
    spool = Spool(tmp_path / "spool.db")
    for number in range(100):
        await spool.write([b"c:%d" % number])
    found = await everything(spool)
    assert [item for item in found if item.startswith(b"c")] == [b"c:%d" % number for number in range(100)]
    await spool.close()


def test_several_receivers_may_start_at_once(tmp_path: Path) -> None:
    """Opening the same new file at the same moment fails for none of them."""
    code = "from pathlib import Path; from receiver.spool import Spool; Spool(Path('spool.db')); print('open')"
    command = [sys.executable, "-c", code]
    several = [
        subprocess.Popen(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=-1, stderr=-2) for _ in range(6)
    ]
    assert [one.communicate()[0] for one in several] == [b"open\n"] * 6


async def test_one_drains_at_a_time(tmp_path: Path) -> None:
    """A second receiver gets nothing to drain while the first one does, and everything once it is gone."""
    first, second = Spool(tmp_path / "spool.db"), Spool(tmp_path / "spool.db")
    await first.write([b"1", b"2"])
    assert len(await first.read(1, 1000)) == 1
    assert await second.read(10, 1000) == []
    assert second.depth == 2
    await first.close()
    assert len(await second.read(10, 1000)) == 2
    await second.close()


async def test_an_empty_spool_is_left_to_others(tmp_path: Path) -> None:
    """Who found nothing more to drain does not keep others from it."""
    first, second = Spool(tmp_path / "spool.db"), Spool(tmp_path / "spool.db")
    await first.write([b"1"])
    [(seq, _)] = await first.read(10, 1000)
    await first.forget(seq)
    assert await first.read(10, 1000) == []
    await second.write([b"2"])
    assert await everything(second) == [b"2"]
    await first.close()
    await second.close()


async def test_a_full_disk_refuses_all_of_a_batch(tmp_path: Path) -> None:
    """Nothing of a batch that did not fit is there, and what was there before still is."""
    spool = Spool(tmp_path / "spool.db")
    await spool.write([b"before"])
    spool._db.execute("PRAGMA max_page_count=8")
    with pytest.raises(SpoolError, match="full"):
        await spool.write([b"small", b"x" * 200_000])
    assert spool.depth == 1
    await spool.write([b"after"])
    assert await everything(spool) == [b"before", b"after"]
    await spool.close()


def test_a_file_that_may_not_grow_refuses_and_goes_on(start: Start) -> None:
    """When the system refuses to write, the batch is refused and the spool works on for what fits."""
    process = start("-c", LIMITED)
    assert process.wait() == 0, process.output
    assert "refused:" in process.output
    assert "[b'first', b'last'] 2" in process.output


async def test_a_locked_file_is_an_error_in_time(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who holds the file open for writing does not make an answer wait for ever."""
    monkeypatch.setattr("receiver.spool.PATIENCE", 0.1)
    holder = sqlite3.connect(tmp_path / "spool.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(5):
        with pytest.raises(SpoolError, match="locked"):
            await spool.write([b"1"])
    holder.execute("ROLLBACK")
    holder.close()
    await spool.write([b"2"])
    assert await everything(spool) == [b"2"]


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    """A broken file is named at start, not overwritten."""
    path = tmp_path / "spool.db"
    path.write_bytes(b"this is no database, but long enough to be taken for one" * 100)
    with pytest.raises(SpoolError, match="not a database"):
        Spool(path)
    assert path.read_bytes().startswith(b"this is no database")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A path under a file is one line at start."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"Not a directory|File exists"):
        Spool(tmp_path / "file" / "spool.db")


@as_root
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    """Missing permissions are one line at start."""
    tmp_path.chmod(0o500)
    with pytest.raises(SpoolError, match=r"denied|unable to open"):
        Spool(tmp_path / "spool.db")
    tmp_path.chmod(0o700)
