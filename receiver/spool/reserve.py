"""Space that is kept for emptying the spool on a disk that it has filled: to remove rows, SQLite has to write."""

import shutil
from contextlib import suppress
from pathlib import Path

BYTES = 4 << 20
"""What SQLite writes to forget 4 GB at once."""


def keep(spool: Path) -> None:
    """Take the space, if it is to be had."""
    reserve = _beside(spool)
    if not reserve.exists() and shutil.disk_usage(spool.parent).free > 2 * BYTES:
        try:
            reserve.write_bytes(bytes(BYTES))
        except OSError:
            give_up(spool)


def give_up(spool: Path) -> None:
    """Leave it to what has to be written now."""
    with suppress(OSError):
        _beside(spool).unlink()


def _beside(spool: Path) -> Path:
    return spool.with_name(spool.name + ".reserve")
