"""Spools with known content, and ways to do them harm."""

import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from receiver.delivery import Delivery
from receiver.idempotency import IdempotencyRule
from receiver.packing import pack_delivery
from receiver.queue.keys import Keys
from receiver.spool import Entry, Spool, damage

KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(("event-id", "body"))
PAGE = 4096
OLD_TABLE = "CREATE TABLE IF NOT EXISTS spool (seq INTEGER PRIMARY KEY AUTOINCREMENT, item BLOB NOT NULL)"
"""What version 0.1 begins a spool with."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
async def spool(path: Path) -> AsyncIterator[Spool]:
    spool = Spool(path)
    yield spool
    await spool.close()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log lines of these tests are expected."""
    with structlog.testing.capture_logs():
        yield


def entries(*items: bytes, subject: str = "") -> list[Entry]:
    return [Entry(item, subject) for item in items]


def made(event_id: str, size: int = 0, subject: str = "") -> Delivery:
    """A delivery with a body of about `size` bytes more than it needs."""
    action = f', "action": {{"id": "{subject}"}}' if subject else ""
    body = f'{{"id": "{event_id}", "type": "action.created"{action}, "padding": "{"x" * size}"}}'.encode()
    return SOURCES.delivery({}, body, time.time_ns() // 1000)


def delivery(event_id: str, size: int = 0, subject: str = "") -> Entry:
    """The same, as the intake writes it."""
    one = made(event_id, size, subject)
    return Entry(pack_delivery(KEYS, one), one.subject)


async def everything(spool: Spool) -> list[bytes]:
    return [row.item for row in await spool.read(1_000_000, 1 << 30)]


def connection_of(spool: Spool) -> sqlite3.Connection:
    """What a spool uses, to set limits that a test needs."""
    db = spool._tables.file._db
    assert db
    return db


def size_of(path: Path, end: str = "") -> int:
    return path.with_name(path.name + end).stat().st_size


def kept_beside(path: Path) -> Path:
    """The one damaged file that is kept."""
    [kept] = damage.kept_files(path, "damaged")
    return kept


def checkpoint(path: Path) -> None:
    """Bring all that is in the log into the file."""
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    db.close()


def page_of(path: Path, name: str) -> int:
    """The number of the root page of a table or index."""
    db = sqlite3.connect(path)
    [number] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    db.close()
    return int(number)


def overwrite(path: Path, page: int, content: bytes = b"\xa5") -> None:
    """Fill a page (counted from 1) with something else, in the file as it is on the disk."""
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write((content * PAGE)[:PAGE])
