#!/usr/bin/env python3
"""Copies what the kit must not lose, while it runs: spool, Redis's append-only file, the audit log when it is SQLite.

Payloads of dead letters that Redis had no room for are beside the spool, and copied with it.

    deploy/backup.py take /var/backups/glartek
    deploy/backup.py restore /var/backups/glartek/2026-11-20T03.00.00.123456Z

Options say where things are; without them, where docker-compose.yml's service `backup` or deploy/systemd/ has them.
Needs Python 3.11 and read access, nothing of the kit. Exit code 1, and one line, for what went wrong.
"""

import argparse
import json
import os
import shlex
import shutil
import sqlite3
import sys
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

TRIES = 20
PIECE = 1 << 20


class BackupError(Exception):
    """One line that says what could not be copied."""


@dataclass(frozen=True, slots=True)
class Data:
    """Where the kit's data is."""

    spool: Path
    redis: Path
    audit: Path

    @property
    def dead(self) -> Path:
        """Payloads of dead letters: `receiver/queue/room.py` keeps them beside the spool."""
        return self.spool.parent / "dead"


def take(data: Data, to: Path, keep: int) -> Path:
    """A new folder in `to`, complete or not there at all; of the older ones, `keep` stay with it.

    In the order in which deliveries travel: one that moves on meanwhile is copied twice, which is harmless because its
    key is known, and never not at all.
    """
    folder = to / datetime.now(UTC).strftime("%Y-%m-%dT%H.%M.%S.%fZ")
    unfinished = to / f".{folder.name}.unfinished"
    try:
        unfinished.mkdir(parents=True, mode=0o700)
        _copy_sqlite(data.spool, unfinished / "spool.db")
        _copy_payloads(data.dead, unfinished / "dead")  # before: a replay may remove one that Redis still names
        _copy_append_only(data.redis / "appendonlydir", unfinished / "appendonlydir")
        _copy_payloads(data.dead, unfinished / "dead")  # and after: others may have left Redis meanwhile
        _copy_sqlite(data.audit, unfinished / "audit.db")
        unfinished.rename(folder)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{folder}: {error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for old in sorted(path for path in to.iterdir() if not path.name.startswith("."))[:-keep]:
        shutil.rmtree(old)
    return folder


def restore(data: Data, folder: Path) -> None:
    """Put it back, where nothing is; what is put back belongs to the owner of the folder that it goes to."""
    places = {"spool.db": data.spool, "appendonlydir": data.redis / "appendonlydir", "audit.db": data.audit}
    places["dead"] = data.dead
    if not (folder / "appendonlydir").is_dir():
        raise BackupError(f"{folder}: no backup; expected a folder that `take` made")
    for target in places.values():
        if target.exists():
            raise BackupError(f"{target}: is there already; stop everything and move it away first")
    try:
        for name, target in places.items():
            if (folder / name).exists():
                _put_back(folder / name, target)
    except OSError as error:
        raise BackupError(f"{folder}: {error}") from None


def _put_back(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    owner = target.parent.stat()
    for path in (target, *target.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o700 if path.is_dir() else 0o600)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Through SQLite, which copies one state of the database while others write to it."""
    if not source.exists():
        return
    with closing(sqlite3.connect(source, timeout=10)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        [(verdict,)] = copy.execute("PRAGMA integrity_check(1)")
    if verdict != "ok":
        raise BackupError(f"{source}: is broken: {verdict}")


def _copy_payloads(source: Path, target: Path) -> None:
    """The files that are not there yet; each is written once and never changed."""
    target.mkdir(exist_ok=True)
    for file in sorted(source.iterdir()) if source.is_dir() else ():
        if not (target / file.name).exists():
            with suppress(FileNotFoundError):  # its dead letter was replayed or dropped meanwhile
                shutil.copyfile(file, target / file.name)


def _copy_append_only(source: Path, target: Path) -> None:
    """The manifest, and the files that it names: they only grow, until Redis has rewritten them and removes them.

    All are opened before the first is copied: then they can be read to their ends, whatever Redis removes. A file that
    was still growing ends in half a command, which Redis drops when it loads it (aof-load-truncated).
    """
    target.mkdir()
    with ExitStack() as opened:
        manifest, text, files = _open_append_only(source, opened)
        for name, file in files.items():
            with (target / name).open("wb") as copy:
                shutil.copyfileobj(file, copy, PIECE)
    (target / manifest).write_text(text, encoding="utf-8")


def _open_append_only(source: Path, opened: ExitStack) -> tuple[str, str, dict[str, BinaryIO]]:
    """The manifest's name and text, and the files that it names, which `opened` closes."""
    for _ in range(TRIES):
        try:
            [manifest] = (path for path in source.glob("*.manifest") if not path.name.startswith("temp-"))
            lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
            needed = {line: name for line in lines if (name := _needed(line))}
            files: dict[str, BinaryIO] = {
                name: opened.enter_context((source / name).open("rb")) for name in needed.values()
            }
            return manifest.name, "".join(needed), files
        except FileNotFoundError as error:  # rewritten between two of these lines
            gone = error.filename
        except (ValueError, KeyError):
            expected = "expected the data of Redis 7.0, of Valkey, or later"
            raise BackupError(f"{source}: no append-only file with a manifest; {expected}") from None
    raise BackupError(
        f"{gone}: the manifest beside it names it, and it is not there; is this the folder of a running Redis?"
    )


def _needed(line: str) -> str | None:
    """The file that a line of a manifest names; None for a history file, which Redis is about to remove."""
    fields = shlex.split(line)
    told = dict(zip(fields[::2], fields[1::2], strict=False))  # file NAME seq 1 type b
    return None if told.get("type") == "h" else told["file"]


def main() -> None:
    """The command."""
    in_compose = Path("/from").is_dir()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["take", "restore"])
    parser.add_argument("folder", type=Path, help="where backups go; with restore, the one to put back")
    for name, there, here in (
        ("spool", "/from/spool/spool.db", "/var/lib/glartek-receiver/spool.db"),
        ("redis", "/from/redis", "/var/lib/redis"),
        ("audit", "/from/audit/audit.db", "/var/lib/glartek-worker/audit.db"),
    ):
        parser.add_argument(f"--{name}", type=Path, default=Path(there if in_compose else here))
    parser.add_argument("--keep", type=int, default=14, help="backups that stay, this one included (default: 14)")
    parser.add_argument("--json", action="store_true", help="say what was done as JSON")
    options = parser.parse_args()
    data = Data(options.spool, options.redis, options.audit)
    try:
        if options.command == "take":
            folder = take(data, options.folder, max(options.keep, 1))
        else:
            restore(data, folder := options.folder)
    except BackupError as error:
        sys.exit(str(error))
    sizes = {path.name: _size(path) for path in sorted(folder.iterdir())}
    print(
        json.dumps({"folder": str(folder), "bytes": sizes})
        if options.json
        else f"{folder}: {sum(sizes.values())} bytes"
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


if __name__ == "__main__":
    main()
