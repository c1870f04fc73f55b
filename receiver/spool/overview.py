"""The content of a spool, read-only: for `doctor` and `python -m receiver spool list`."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from receiver.spool.damage import kept_files
from receiver.spool.drain import delivery_of
from receiver.spool.file import readable


class Aside(NamedTuple):
    """A delivery set aside; `at` (None: unknown) and `tried` are Unix times of writing and of the last try."""

    number: int
    delivery: str
    bytes: int
    at: float | None
    tries: int
    tried: float
    reason: str


class Overview(NamedTuple):
    """`oldest` is a Unix time (None: unknown); `trouble` says what is wrong with the file, "" if nothing."""

    waiting: int = 0
    oldest: float | None = None
    aside: tuple[Aside, ...] = ()
    damaged: tuple[Path, ...] = ()
    trouble: str = ""


def overview(path: Path) -> Overview:
    """The content of the spool at `path`, and its damaged files; empty if there is no spool."""
    damaged = tuple(kept_files(path.resolve(), "damaged"))
    try:
        if not path.exists():
            return Overview(damaged=damaged)
        with closing(read_only(path)) as db:
            [state] = db.execute("PRAGMA quick_check(1)").fetchone()
            [waiting] = db.execute("SELECT count(*) FROM spool").fetchone()
            is_new = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'aside'").fetchone()
            oldest = db.execute("SELECT at FROM spool ORDER BY seq LIMIT 1").fetchone() if is_new else None
            aside = tuple(map(_aside, db.execute("SELECT * FROM aside ORDER BY seq"))) if is_new else ()
    except (sqlite3.Error, OSError) as error:
        return Overview(damaged=damaged, trouble=str(error))
    return Overview(waiting, oldest[0] if oldest else None, aside, damaged, "" if state == "ok" else str(state))


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, not even when it is closed."""
    db = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, timeout=5, check_same_thread=False)
    db.text_factory = readable
    return db


def _aside(row: tuple[int, bytes, str, float | None, int, str, int, float]) -> Aside:
    seq, item, _, at, _, reason, tries, tried = row
    return Aside(seq, delivery_of(item), len(item), at, tries, tried, reason)
