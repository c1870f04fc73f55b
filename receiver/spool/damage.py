"""Which errors mean that a spool file is damaged, and where a file goes that cannot be used: out of the way, and kept.

A spool is up to three files: `spool.db`, SQLite's log `spool.db-wal` and its index `spool.db-shm`. They are moved
together, the first one first: by it other receivers notice that the file they have open is not the spool any more.

- `spool.db.damaged-<time>` holds what an operator has to recover,
- `spool.db.left-<time>` was left to a receiver that was frozen while it wrote; what it holds comes back by itself,
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
    sqlite3.SQLITE_IOERR_SHORT_READ,  # a file that was cut
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def is_damage(error: Exception) -> bool:
    """Whether an error of SQLite says that what is in the file is wrong: a full disk or a lock does not."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code in _SIGNS or code & 0xFF in _SIGNS)


def is_lack_of_room(error: Exception) -> bool:
    """Whether an error says that the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code in _NO_ROOM or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}


def move_aside(spool: Path, kind: Kind = "damaged") -> Path:
    """Move a file out of the way; where it is kept. The caller is first in the line of those who write."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = _unused(spool.with_name(f"{spool.name}.{kind}-{stamp}"))
    spool.rename(kept)
    _move_rest(spool, kept)
    return kept


def finish_move(spool: Path) -> None:
    """Finish the move that a killed receiver began; remove what is left of a spool that somebody removed.

    SQLite would take the log of the file that was there for the log of the one that is begun now.
    """
    if spool.exists():
        return
    for kept in (*kept_files(spool, "damaged"), *kept_files(spool, "left")):
        if not _beside(kept, "-wal").exists():
            _move_rest(spool, kept)
    for end in ENDS:
        _beside(spool, end).unlink(missing_ok=True)


def kept_files(spool: Path, kind: Kind) -> list[Path]:
    """Files of a kind that are kept, the oldest first."""
    start = f"{spool.name}.{kind}-"
    with suppress(OSError):
        return sorted(
            path for path in spool.parent.iterdir() if path.name.startswith(start) and not path.name.endswith(ENDS)
        )
    return []


def is_kept(spool: Path, file: Identity | None) -> bool:
    """Whether a file that was the spool's is one of those that are kept."""
    kinds: tuple[Kind, ...] = ("damaged", "left", "recovered")
    return any(identity(kept) == file for kind in kinds for kept in kept_files(spool, kind))


def rename(kept: Path, kind: Kind) -> Path:
    """Make a file that is kept one of another kind; its new name."""
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
    _beside(kept, "-wal").touch()  # its move is finished, see `finish_move`


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def identity(path: Path) -> Identity | None:
    """Device and inode of what is at a path now."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat
        return found.st_dev, found.st_ino
    return None
