"""Reserved disk space: SQLite has to write to remove rows, also when the spool has filled the disk."""

import shutil
from contextlib import suppress
from pathlib import Path

BYTES = 4 << 20
"""What SQLite writes to remove 4 GB of rows at once."""


def keep(spool: Path) -> None:
    """Reserve the space if the disk has enough."""
    reserve = _beside(spool)
    if not reserve.exists() and shutil.disk_usage(spool.parent).free > 2 * BYTES:
        try:
            reserve.write_bytes(bytes(BYTES))
        except OSError:
            give_up(spool)


def give_up(spool: Path) -> None:
    """Free the space for a write that is needed now."""
    with suppress(OSError):
        _beside(spool).unlink()


def _beside(spool: Path) -> Path:
    return spool.with_name(spool.name + ".reserve")
