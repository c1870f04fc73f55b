"""What waits on disk is there in order, whatever happens to the processes that write and drain it."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from receiver.spool import Spool, SpoolError
from receiver.spool.recover import bring_back
from tests.conftest import ROOT, Process, Start, until, wait_until
from tests.receiver.spool.conftest import OLD_TABLE, connection_of, delivery, entries, everything, size_of

WRITER = """
import asyncio, sys
from pathlib import Path
from receiver.spool import Entry, Spool

async def write(name):
    spool = Spool(Path("spool.db"))
    number = 0
    while True:
        await spool.write([Entry(f"{name}:{number + i}".encode()) for i in range(7)])
        number += 7
        print(number, flush=True)

asyncio.run(write(sys.argv[1]))
"""
LIMITED = """
import asyncio, resource, signal
from pathlib import Path
from receiver.spool import Entry, Spool, SpoolError

async def fill():
    spool = Spool(Path("spool.db"))
    await spool.write([Entry(b"first")])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        await spool.write([Entry(b"x" * 400_000)])
        print("stored", flush=True)
    except SpoolError as error:
        print("refused:", error, flush=True)
    await spool.write([Entry(b"last")])
    print([row.item for row in await spool.read(10, 1 << 20)], spool.depth, flush=True)
    await spool.close()

asyncio.run(fill())
"""
HOLDER = """
import asyncio, sys, time
from pathlib import Path
from receiver.spool import Entry, Spool, tables

def freeze(_):
    print("holding", flush=True)
    tables.zlib.crc32 = lambda _: 0
    while not Path("go").exists():  # a process that stops itself runs on for a moment, and may come to its end
        time.sleep(0.01)
    return 0

async def hold():
    spool = Spool(Path("spool.db"))
    if sys.argv[1] == "lease":
        print(spool.take_lease(), flush=True)
    elif sys.argv[1] == "lock":
        held = spool._tables.file.lock.held(1)
        held.__enter__()
    else:
        tables.zlib.crc32 = freeze
        await spool.write([Entry(b"frozen")])
    print("holding", flush=True)
    while True:
        await asyncio.sleep(0.1)
        await spool.look()

asyncio.run(hold())
"""
as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


async def test_items_come_back_in_the_order_written(spool: Spool) -> None:
    """First in, first out, over several transactions."""
    await spool.write(entries(b"1", b"2"))
    await spool.write(entries(b"3"))
    assert spool.depth == 3
    assert await everything(spool) == [b"1", b"2", b"3"]


async def test_what_is_forgotten_is_gone_and_the_rest_stays(spool: Spool) -> None:
    """Draining half of it leaves the other half, and says how deep it is."""
    await spool.write(entries(b"1", b"2", b"3"))
    await spool.forget((await spool.read(2, 1000))[0])
    await spool.look()
    assert spool.depth == 2
    assert await everything(spool) == [b"2", b"3"]


async def test_a_read_is_bounded_in_count_and_bytes(spool: Spool) -> None:
    """A batch fits into one call, and an item larger than the bound is not stuck for ever."""
    await spool.write(entries(b"12345", b"12345", b"123456789012345", b"1"))
    assert len(await spool.read(1, 1000)) == 1
    assert len(await spool.read(10, 10)) == 2
    await spool.forget((await spool.read(2, 1000))[-1])
    assert len(await spool.read(10, 10)) == 1


async def test_it_survives_close_and_reopen(tmp_path: Path) -> None:
    """A restart of the receiver finds what it left, behind it what comes after."""
    first = Spool(tmp_path / "spool.db")
    await first.write(entries(b"1", b"2"))
    await first.close()
    second = Spool(tmp_path / "spool.db")
    await second.write(entries(b"3"))
    assert second.depth == 3
    assert await everything(second) == [b"1", b"2", b"3"]
    await second.close()


async def test_numbers_are_not_used_again(spool: Spool) -> None:
    """What is written after a drain is not forgotten with what was drained before."""
    await spool.write(entries(b"1"))
    [row] = await spool.read(10, 1000)
    await spool.forget(row)
    await spool.write(entries(b"2"))
    await spool.forget(row)
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
        await spool.write(entries(b"c:%d" % number))
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


async def test_one_drains_at_a_time(path: Path) -> None:
    """A second receiver gets the drain lease only when the first one releases it or ends."""
    first, second = Spool(path), Spool(path)
    for end in (first.release_lease, None):
        assert first.take_lease()
        assert first.take_lease()
        assert not second.take_lease()
        if end:
            end()
            assert second.take_lease()
            assert not first.take_lease()
            second.release_lease()
    await first.close()
    assert second.take_lease()
    await second.close()


async def test_a_full_disk_refuses_all_of_a_batch(tmp_path: Path) -> None:
    """Nothing of a batch that did not fit is there, and what was there before still is."""
    spool = Spool(tmp_path / "spool.db")
    await spool.write(entries(b"before"))
    connection_of(spool).execute("PRAGMA max_page_count=8")
    with pytest.raises(SpoolError, match="full"):
        await spool.write(entries(b"small", b"x" * 200_000))
    assert spool.depth == 1
    await spool.write(entries(b"after"))
    assert await everything(spool) == [b"before", b"after"]
    await spool.close()


def test_a_file_that_may_not_grow_refuses_and_goes_on(start: Start) -> None:
    """When the system refuses to write, the batch is refused and the spool works on for what fits."""
    process = start("-c", LIMITED)
    assert process.wait() == 0, process.output
    assert "refused:" in process.output
    assert "[b'first', b'last'] 2" in process.output


async def test_a_file_that_stays_locked_is_left_to_whoever_locks_it(path: Path, spool: Spool) -> None:
    """A write does not wait for ever: it goes into a new file, which is replaced in turn once a minute at most."""
    for number in range(2):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        if number == 0:
            await spool.write(entries(b"1"))
            assert time.monotonic() - began < 5
        else:
            with pytest.raises(SpoolError, match="locked, again within a minute"):
                await spool.write(entries(b"2"))
            began = time.monotonic()
            with pytest.raises(SpoolError, match="locked"):
                await spool.write(entries(b"2"))
            assert time.monotonic() - began < 1  # who comes next does not wait as long once more
        holder.execute("ROLLBACK")
        holder.close()
    await spool.write(entries(b"3"))
    assert await everything(spool) == [b"1", b"3"]


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


# ── who shares a file ───────────────────────────────────────────────────────────────────────────────────────────


async def test_what_another_receiver_wrote_is_seen_at_once(path: Path, spool: Spool) -> None:
    """Without a look at the file in between: the next delivery of a subject must not overtake the one that waits."""
    other = Spool(path)
    await spool.look()
    assert spool.is_empty()
    await other.write(entries(b"1", subject="action:a"))
    assert not spool.is_empty()
    assert await spool.waiting({"action:a", "action:b", ""}) == {"action:a"}
    await other.forget((await other.read(10, 1000))[-1])
    assert await spool.waiting({"action:a"}) == set()
    await other.look()
    await spool.look()
    assert spool.is_empty()
    await other.close()


async def test_a_delivery_without_a_subject_waits_for_none(spool: Spool) -> None:
    """No subject is no order: those without one do not follow each other."""
    await spool.write(entries(b"1"))
    assert await spool.waiting({""}) == set()


async def test_what_version_0_1_spooled_is_read_and_all_subjects_wait_for_it(path: Path) -> None:
    """A file of version 0.1 is taken over as it is; its items name no subject, so they could be of any."""
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("PRAGMA journal_mode=WAL")
    old.execute(OLD_TABLE)
    old.execute("INSERT INTO spool (item) VALUES (?)", (b"1",))
    spool = Spool(path)
    assert await spool.waiting({"action:a", ""}) == {"action:a"}
    await spool.write(entries(b"2", subject="action:b"))
    assert [row for row in await spool.read(10, 1000) if not row.is_whole] == []
    assert await everything(spool) == [b"1", b"2"]
    assert (spool.depth, spool.oldest) == (2, None)
    await spool.close()
    old.close()


async def test_version_0_1_shares_a_file_of_today(path: Path, spool: Spool) -> None:
    """While a release is rolled out it writes, reads and removes beside us, and does not see what we set aside."""
    await spool.write(entries(b"1", b"2", subject="action:a"))
    await spool.set_aside((await spool.read(1, 1000))[0], "too slow")
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(OLD_TABLE)
    old.execute("INSERT INTO spool (item) VALUES (?)", (b"3",))
    assert await everything(spool) == [b"2", b"3"]
    found = old.execute("SELECT seq, item FROM spool ORDER BY seq LIMIT ?", (256,)).fetchall()
    assert [item for _, item in found] == [b"2", b"3"]
    old.execute("DELETE FROM spool WHERE seq <= ?", (found[-1][0],))
    assert await everything(spool) == []
    await spool.look()
    assert (spool.depth, spool.aside) == (0, 1)
    old.close()


@pytest.fixture
def holder(start: Start) -> Iterator[Callable[[str], Process]]:
    """A frozen receiver that holds the drain lease, the writers' lock or the file itself."""
    held: list[Process] = []

    def hold(what: str) -> Process:
        held.append(start("-c", HOLDER, what))
        held[-1].wait_for("holding")
        held[-1].signal(signal.SIGSTOP)
        return held[-1]

    yield hold
    for process in held:
        if not process.has_ended():
            process.signal(signal.SIGKILL)
            process.wait()


async def test_a_frozen_receiver_keeps_the_drain_lease_until_it_expires(
    spool: Spool, holder: Callable[[str], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then another receiver drains; when the frozen one goes on, it has the lease again."""
    frozen = holder("lease")
    assert not spool.take_lease()
    monkeypatch.setattr("receiver.spool.lease.LEASE", 0.5)
    await until(spool.take_lease)
    assert spool.take_lease()
    frozen.signal(signal.SIGCONT)
    await until(lambda: not spool.take_lease())


async def test_a_receiver_that_sends_one_batch_for_long_keeps_the_drain_lease(
    spool: Spool, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It renews the lease while it waits for an answer."""
    monkeypatch.setattr("receiver.spool.lease.LEASE", 0.5)
    start("-c", HOLDER, "lease").wait_for("holding")
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        assert not spool.take_lease()
        await asyncio.sleep(0.05)


async def test_a_receiver_frozen_in_a_write_does_not_keep_others_from_draining(
    path: Path, holder: Callable[[str], Process]
) -> None:
    """What waits is read and, once sent, not read again, though it cannot be removed before the other one goes on."""
    spool = Spool(path)
    await spool.write(entries(*(b"%d" % number for number in range(10))))
    frozen = holder("file")
    found: list[bytes] = []
    async with asyncio.timeout(4):
        while rows := await spool.read(3, 1000):
            found += [row.item for row in rows]
            await spool.forget(rows[-1])
    assert found == [b"%d" % number for number in range(10)]
    await spool.look()
    assert (spool.depth, spool.trouble) == (0, "")
    frozen.signal(signal.SIGKILL)
    frozen.wait()
    await spool.look()
    assert connection_of(spool).execute("SELECT count(*) FROM spool").fetchone() == (0,)
    await spool.close()


async def test_a_receiver_frozen_in_a_write_does_not_keep_others_from_writing(
    path: Path, holder: Callable[[str], Process]
) -> None:
    """They begin a new file; what is in the old one comes back; and what the frozen one writes is in the new one."""
    spool = Spool(path)
    await spool.write(entries(delivery("before").item))
    frozen = holder("file")
    async with asyncio.timeout(8):
        await spool.write(entries(b"new"))
    [left] = spool.left_files()
    report = await bring_back(left, spool)
    assert (report.brought_back, spool.left_files()) == (1, [])
    path.with_name("go").touch()
    frozen.signal(signal.SIGCONT)
    wait_until(lambda: frozen.output.count("holding") == 2)
    assert [item[-6:] for item in await everything(spool)] == [b"new", delivery("before").item[-6:], b"frozen"]
    await spool.close()


async def test_a_receiver_frozen_in_the_line_of_writers_does_not_keep_others_out(
    path: Path, holder: Callable[[str], Process]
) -> None:
    """Who is first in line and does not move is passed after a second: SQLite's own lock is what counts."""
    holder("lock")
    spool = Spool(path)
    async with asyncio.timeout(5):
        await spool.write(entries(b"1"))
    assert await everything(spool) == [b"1"]
    await spool.close()


# ── what is removed, set aside and given back ───────────────────────────────────────────────────────────────────


async def test_an_emptied_spool_gives_its_space_back(path: Path, spool: Spool) -> None:
    """After an outage file and log are as small as before it, and the next outage finds them as good as new."""
    for _ in range(10):
        await spool.write(entries(*(os.urandom(1000) for _ in range(2000))))
    assert size_of(path) > 15 << 20
    while rows := await spool.read(256, 4 << 20):
        await spool.forget(rows[-1])
    await spool.look()
    assert size_of(path) < 64 << 10
    assert size_of(path, "-wal") == 0
    await spool.look()
    assert spool.is_empty()
    await spool.write(entries(b"1"))
    assert await everything(spool) == [b"1"]


async def test_giving_back_space_waits_for_nobody(path: Path, spool: Spool) -> None:
    """While another receiver is writing the space is kept, and looking at the spool takes no longer."""
    await spool.write(entries(os.urandom(2 << 20)))
    await spool.forget((await spool.read(1, 1))[-1])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    await spool.look()
    assert time.monotonic() - began < 1
    other.execute("ROLLBACK")
    other.close()
    await spool.look()
    assert size_of(path) < 64 << 10


async def test_what_cannot_be_removed_is_not_read_again(spool: Spool) -> None:
    """A disk too full to remove what was sent does not make it be sent for ever; it is removed once there is room."""
    await spool.write(entries(b"1", b"2", b"3"))
    db = connection_of(spool)
    db.execute("PRAGMA query_only=1")  # as if nothing could be written
    rows = await spool.read(2, 1000)
    await spool.forget(rows[-1])
    assert await everything(spool) == [b"3"]
    await spool.forget((await spool.read(2, 1000))[-1])
    with pytest.raises(SpoolError):
        await spool.look()
    assert spool.depth == 0
    assert spool.trouble
    db.execute("PRAGMA query_only=0")
    await spool.look()
    assert spool.trouble == ""
    assert db.execute("SELECT count(*) FROM spool").fetchone() == (0,)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 10 MB, where the tests may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own needs root on Linux")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_disk_that_the_spool_has_filled_is_free_again_once_all_is_sent(small_disk: Path) -> None:
    """To remove rows takes space, which is kept for it: nobody has to make room by hand."""
    path = small_disk / "spool.db"
    spool = Spool(path)
    with suppress(SpoolError):
        while True:
            await spool.write(entries(os.urandom(30_000)))
    assert shutil.disk_usage(small_disk).free == 0
    sent = 0
    while rows := await spool.read(16, 1 << 20):
        sent += len(rows)
        await spool.forget(rows[-1])
    assert sent > 50
    await spool.look()
    assert (spool.depth, spool.trouble) == (0, "")
    assert size_of(path) + size_of(path, "-wal") < 64 << 10
    await spool.write(entries(b"1"))
    assert await everything(spool) == [b"1"]
    await spool.close()


async def test_a_spool_opens_on_a_disk_that_it_has_filled(small_disk: Path) -> None:
    """A receiver that was restarted takes what waits to Redis, and the disk is free again."""
    path = small_disk / "spool.db"
    before = Spool(path)
    written = 0
    with suppress(SpoolError):
        while True:
            await before.write(entries(os.urandom(30_000)))
            written += 1
    await before.close()
    fill(small_disk)
    spool = Spool(path)
    assert spool.depth == written > 20
    while rows := await spool.read(16, 1 << 20):
        await spool.forget(rows[-1])
    await spool.look()
    await spool.write(entries(b"1"))
    assert await everything(spool) == [b"1"]
    await spool.close()


async def test_a_spool_begins_once_there_is_room(small_disk: Path) -> None:
    """On a disk that others have filled it refuses to write, says so, and is there as soon as it can be."""
    fill(small_disk)
    spool = Spool(small_disk / "spool.db")
    assert "full" in spool.trouble
    assert spool.is_empty()
    with pytest.raises(SpoolError, match="full"):
        await spool.write(entries(b"1"))
    (small_disk / "filled").unlink()
    await spool.look()
    assert spool.trouble == ""
    await spool.write(entries(b"2"))
    assert await everything(spool) == [b"2"]
    await spool.close()


def fill(disk: Path) -> None:
    """Take all the room that is left."""
    with suppress(OSError), (disk / "filled").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


async def test_what_is_set_aside_is_out_of_the_way_and_kept(path: Path, spool: Spool) -> None:
    """It is read no more, outlasts a restart, and is handed out again when its time has come, each minute once."""
    await spool.write(entries(b"1", b"2", subject="action:a"))
    await spool.set_aside((await spool.read(1, 1000))[0], "took more than 30 s")
    assert await everything(spool) == [b"2"]
    again = Spool(path)
    assert again.aside == 1
    assert await again.take_aside(time.time() - 60) is None
    row = await again.take_aside(time.time())
    assert row
    assert row.item == b"1"
    assert await again.take_aside(row.seq) is None
    await again.forget_aside(row)
    await again.look()
    assert (again.aside, again.depth) == (0, 1)
    await again.close()


async def test_what_is_set_aside_is_tried_again_when_the_clock_went_back(path: Path, spool: Spool) -> None:
    """What was tried while the clock was a year ahead is handed out by the time of now, to an operator, too."""
    await spool.write(entries(b"1"))
    await spool.set_aside((await spool.read(1, 1000))[0], "took more than 30 s")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE aside SET tried = tried + 31536000")
    row = await spool.take_aside(time.time() - 60)
    assert row
    assert await spool.take_aside(time.time() - 60) is None
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE aside SET tried = tried + 31536000")
    assert await spool.take_aside(time.time(), row.seq) == row


async def test_an_item_that_is_not_what_was_written_is_told(path: Path, spool: Spool) -> None:
    """SQLite does not see that the content of a row has changed; the spool does."""
    await spool.write(entries(b"one", b"two"))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE spool SET item = ? WHERE seq = 1", (b"0ne",))
    db.close()
    assert [(row.item, row.is_whole) for row in await spool.read(10, 1000)] == [(b"0ne", False), (b"two", True)]


async def test_the_age_of_the_oldest_is_told(spool: Spool) -> None:
    """Since when the oldest waits, and nothing when nothing waits."""
    before = time.time()
    await spool.write(entries(b"1"))
    await spool.write(entries(b"2"))
    await spool.look()
    assert spool.oldest is not None
    assert before <= spool.oldest <= time.time()
    await spool.forget((await spool.read(10, 1000))[-1])
    await spool.look()
    assert spool.oldest is None
