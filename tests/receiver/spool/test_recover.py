"""What can be read of a damaged file is brought back: all of it but what the damage hit."""

import json
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from receiver.spool import Entry, Spool, damage
from tests.conftest import Start
from tests.receiver.spool.conftest import (
    OLD_TABLE,
    PAGE,
    delivery,
    everything,
    overwrite,
    page_of,
    size_of,
)


@pytest.fixture
def items() -> list[Entry]:
    """Three hundred deliveries: small ones, and every tenth one with pages of its own."""
    return [delivery(f"e{number}", size=20_000 if number % 10 == 0 else 300) for number in range(300)]


async def moved_aside(path: Path, items: Sequence[Entry], *, is_closed: bool = True) -> Path:
    """A damaged file with these items, beside a spool that was begun after it."""
    spool = Spool(path)
    await spool.write(items)
    if is_closed:
        await spool.close()
    kept = damage.move_aside(path)
    if not is_closed:
        await spool.close()
    await Spool(path).close()
    return kept


def recover(start: Start, kept: Path, code: int = 0) -> dict[str, Any]:
    """What the command reports."""
    process = start("-m", "receiver", "spool", "recover", str(kept), "--json", SPOOL_PATH="spool.db")
    assert process.wait() == code, process.output
    report: dict[str, Any] = json.loads(process.output)
    return report


async def waiting(path: Path) -> list[bytes]:
    spool = Spool(path)
    found = await everything(spool)
    await spool.close()
    return found


async def test_an_unharmed_file_comes_back_whole_and_in_order(path: Path, start: Start, items: list[Entry]) -> None:
    """Subjects, too; the file is kept under a name that nobody asks for any more."""
    ordered = delivery("ordered", subject="a1")
    kept = await moved_aside(path, [*items, ordered])
    report = recover(start, kept)
    assert (report["brought_back"], report["unreadable"]) == (301, 0)
    assert Path(report["kept"]).name.startswith("spool.db.recovered-")
    assert size_of(Path(report["kept"])) > 0
    assert damage.kept_files(path, "damaged") == []
    assert await waiting(path) == [entry.item for entry in (*items, ordered)]
    spool = Spool(path)
    assert await spool.waiting({"action:a1"}) == {"action:a1"}
    await spool.close()


async def test_what_is_only_in_the_log_comes_back(path: Path, start: Start, items: list[Entry]) -> None:
    """The log is moved with its file, and read with it."""
    kept = await moved_aside(path, items, is_closed=False)
    assert size_of(kept, "-wal") > 500_000
    assert recover(start, kept)["brought_back"] == 300
    assert await waiting(path) == [entry.item for entry in items]


async def test_a_damaged_log_costs_what_was_hit(path: Path, start: Start, items: list[Entry]) -> None:
    """SQLite would read it up to there, and say nothing of what follows."""
    kept = await moved_aside(path, items, is_closed=False)
    with kept.with_name(kept.name + "-wal").open("r+b") as wal:
        wal.seek(100_000)
        wal.write(b"\xa5" * 4096)
    report = recover(start, kept, code=1)
    assert report["brought_back"] == 300 - report["unreadable"] > 280


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
async def test_a_page_that_was_overwritten_costs_what_was_on_it(
    path: Path, start: Start, items: list[Entry], share: float
) -> None:
    """The rows on it are counted; all others are brought back, in order, whichever page it was."""
    kept = await moved_aside(path, items)
    overwrite(kept, round(size_of(kept) / PAGE * share))
    report = recover(start, kept, code=1)
    assert 1 <= report["unreadable"] <= 15
    assert report["brought_back"] == 300 - report["unreadable"]
    found = await waiting(path)
    assert found == [entry.item for entry in items if entry.item in set(found)]


async def test_a_file_that_was_cut_gives_what_is_left(path: Path, start: Start, items: list[Entry]) -> None:
    """Half a file is half of what waited."""
    kept = await moved_aside(path, items)
    with kept.open("r+b") as file:
        file.truncate(size_of(kept) // 2)
    report = recover(start, kept, code=1)
    assert report["brought_back"] > 100
    assert report["brought_back"] + report["unreadable"] == 300


@pytest.mark.parametrize("name", ["sqlite_schema", "spool_subject", "sqlite_sequence", "aside"])
async def test_damage_beside_the_deliveries_costs_none(path: Path, start: Start, items: list[Entry], name: str) -> None:
    """The first page, the index and the counter are not needed to read them."""
    kept = await moved_aside(path, items)
    overwrite(kept, 1 if name == "sqlite_schema" else page_of(kept, name))
    assert recover(start, kept)["brought_back"] == 300
    assert await waiting(path) == [entry.item for entry in items]


async def test_a_row_that_is_not_what_was_written_is_not_brought_back(
    path: Path, start: Start, items: list[Entry]
) -> None:
    """Its checksum says so; SQLite does not."""
    kept = await moved_aside(path, items)
    db = sqlite3.connect(kept, isolation_level=None)
    db.execute("UPDATE spool SET item = replace(item, 'e7', 'e8') WHERE seq = 8")
    db.close()
    assert recover(start, kept, code=1)["unreadable"] == 1


async def test_what_was_set_aside_comes_back(path: Path, start: Start, items: list[Entry]) -> None:
    """It waits like any other, and is set aside again if it still cannot go."""
    spool = Spool(path)
    await spool.write(items[:3])
    await spool.set_aside((await spool.read(1, 1))[0], "too slow")
    await spool.close()
    kept = damage.move_aside(path)
    assert recover(start, kept)["brought_back"] == 3
    assert sorted(await waiting(path)) == sorted(entry.item for entry in items[:3])


async def test_a_file_of_version_0_1_comes_back(path: Path, start: Start, items: list[Entry]) -> None:
    """It has no subjects, no checksums and no index."""
    kept = path.with_name("spool.db.damaged-20261126T000000Z")
    old = sqlite3.connect(kept)
    old.execute(OLD_TABLE)
    old.executemany("INSERT INTO spool (item) VALUES (?)", [(entry.item,) for entry in items])
    old.execute("DELETE FROM spool WHERE seq <= 100")
    old.commit()
    old.close()
    overwrite(kept, size_of(kept) // PAGE // 2)
    report = recover(start, kept, code=1)
    assert 200 - 15 <= report["brought_back"] <= 199
    found = await waiting(path)
    assert found == [entry.item for entry in items if entry.item in set(found)]


async def test_what_a_receiver_stores_meanwhile_is_not_harmed(path: Path, start: Start, items: list[Entry]) -> None:
    """The command shares the spool with receivers that are running."""
    kept = await moved_aside(path, items)
    spool = Spool(path)
    await spool.write([delivery("new")])
    recover(start, kept)
    await spool.look()
    assert spool.depth == 301
    await spool.close()


async def test_a_table_that_cannot_be_found_is_said_with_what_to_do(
    path: Path, start: Start, items: list[Entry]
) -> None:
    """SQLite's own tool gets a try, and what it rescues is recovered; the file stays what it is."""
    kept = await moved_aside(path, items)
    with kept.open("r+b") as file:
        file.truncate(100)
    process = start("-m", "receiver", "spool", "recover", str(kept), SPOOL_PATH="spool.db")
    assert process.wait() == 2
    assert "Traceback" not in process.output
    assert f"sqlite3 {kept} .recover | sqlite3 {kept.with_name('rescued.db')}" in process.output
    assert damage.kept_files(path, "damaged") == [kept]


async def test_sqlites_own_rescue_is_recovered(path: Path, start: Start, items: list[Entry], tmp_path: Path) -> None:
    """Any file with the spool's table will do."""
    kept = await moved_aside(path, items)
    rescued = tmp_path / "rescued.db"
    shutil.copyfile(kept, rescued)
    assert recover(start, rescued)["brought_back"] == 300


@pytest.mark.parametrize("name", ["spool.db", "nothing.db"])
async def test_a_file_that_is_none_to_recover_is_refused(path: Path, start: Start, name: str) -> None:
    """The spool itself, or a name with nothing behind it, is a line."""
    await Spool(path).close()
    process = start("-m", "receiver", "spool", "recover", name, SPOOL_PATH="spool.db")
    assert process.wait() == 2
    assert process.output.startswith(f"{name}: expected a damaged spool file")
