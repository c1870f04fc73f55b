"""Which errors mean that a spool file is damaged, and how an unusable file is moved away and kept.

A spool is up to three files: `spool.db`, SQLite's log `spool.db-wal` and its index `spool.db-shm`. They are moved
together, `spool.db` first: its new identity tells other receivers to open the new file.

- `spool.db.damaged-<time>` has rows that an operator has to recover,
- `spool.db.left-<time>` was left to a receiver that was frozen while it wrote; its rows are recovered automatically,
- `spool.db.recovered-<time>` was one of these and can be deleted.
"""

import errno
import itertools
import os
import re
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

Identity = tuple[int, int]
Kind = Literal["damaged", "left", "recovered"]
ENDS = ("-wal", "-shm")
_SIGNS = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_READ,  # a bad sector
    sqlite3.SQLITE_IOERR_SHORT_READ,  # a truncated file
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def is_damage(error: Exception) -> bool:
    """Whether an SQLite error means that the file's content is wrong; a full disk or a lock does not."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code in _SIGNS or code & 0xFF in _SIGNS)


def is_lack_of_room(error: Exception) -> bool:
    """Whether an error means that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code in _NO_ROOM or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}


def move_aside(spool: Path, kind: Kind = "damaged") -> Path:
    """Move a file away and return its new path. The caller holds the write lock."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = _unused(spool.with_name(f"{spool.name}.{kind}-{stamp}"))
    spool.rename(kept)
    _move_rest(spool, kept)
    return kept


def finish_move(spool: Path) -> None:
    """Finish a move that a killed receiver began; remove log and index of a spool whose file was removed.

    SQLite would otherwise apply the old log to the new file.
    """
    if spool.exists():
        return
    for kept in (*kept_files(spool, "damaged"), *kept_files(spool, "left")):
        if not _beside(kept, "-wal").exists():
            _move_rest(spool, kept)
    for end in ENDS:
        _beside(spool, end).unlink(missing_ok=True)


def kept_files(spool: Path, kind: Kind) -> list[Path]:
    """The kept files of a kind, the oldest first."""
    start = f"{spool.name}.{kind}-"
    with suppress(OSError):
        return sorted(
            path for path in spool.parent.iterdir() if path.name.startswith(start) and not path.name.endswith(ENDS)
        )
    return []


def is_kept(spool: Path, file: Identity | None) -> bool:
    """Whether the file that was the spool is one of the kept files."""
    kinds: tuple[Kind, ...] = ("damaged", "left", "recovered")
    return any(identity(kept) == file for kind in kinds for kept in kept_files(spool, kind))


def rename(kept: Path, kind: Kind) -> Path:
    """Rename a kept file to another kind and return its new path."""
    name = _unused(kept.with_name(re.sub(r"\.(damaged|left)-", f".{kind}-", kept.name)))
    for end in ("", *ENDS):
        with suppress(FileNotFoundError):
            _beside(kept, end).rename(_beside(name, end))
    return name


def _unused(path: Path) -> Path:
    found = path
    for number in itertools.count(2):
        if not found.exists():
            break
        found = _beside(path, f"-{number}")
    return found


def _move_rest(spool: Path, kept: Path) -> None:
    for end in ENDS:
        with suppress(FileNotFoundError):
            _beside(spool, end).rename(_beside(kept, end))
    _beside(kept, "-wal").touch()  # marks the move as finished, see `finish_move`


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def identity(path: Path) -> Identity | None:
    """Device and inode of the file at a path; None if there is none."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat
        return found.st_dev, found.st_ino
    return None
