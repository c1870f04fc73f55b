"""Damages a spool's file without losing a delivery, and recovers the kept files."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

from receiver.spool.damage import kept_files

ROOT = Path(__file__).parents[2]
PAGE = 4096


def damage(spool: Path) -> None:
    """Overwrite the index of subjects, so that the receiver has to begin a new file; the deliveries stay intact."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(spool, timeout=2)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [page] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'spool_subject'").fetchone()
        with spool.open("r+b") as file:
            file.seek((page - 1) * PAGE)
            file.write(os.urandom(PAGE))


def recover(spools: set[Path]) -> int:
    """Run the recovery command for each kept file, as an operator would; returns the number of files."""
    kept = [(spool, file) for spool in spools for file in kept_files(spool, "damaged")]
    for spool, file in kept:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "SPOOL_PATH": str(spool)}
        command = [sys.executable, "-m", "receiver", "spool", "recover", str(file)]
        subprocess.run(command, env=env, cwd=spool.parent, check=True, capture_output=True)
    return len(kept)
