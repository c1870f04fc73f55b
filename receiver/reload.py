"""Starting again when its files change: a customer's own modules and payload map, the kit's, and `.env`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import typer
import watchfiles

from receiver.environment import SettingsError, env_file, load
from receiver.payload_settings import PayloadMapSettings
from receiver.queue.valkey import with_parent


class Changes:
    """What changed in the current folder since it was asked last; `stop` ends every wait, and a signal may call it."""

    def __init__(self) -> None:
        self._names: SimpleQueue[list[str]] = SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="changes", daemon=True).start()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()
        self._names.put([])

    def wait(self, seconds: float | None = None) -> list[str]:
        """The files that changed; none when the time was up or it was stopped."""
        try:
            return self._names.get(timeout=seconds)
        except Empty:
            return []

    def _watch(self) -> None:
        root = Path.cwd()
        while not self.stopped:
            watched = list(folders(root))  # one by one, because a watch of the whole tree would take in .venv and .data
            found = watchfiles.watch(
                *watched,
                watch_filter=lambda _, path: matters(Path(path)),
                recursive=False,
                stop_event=self._stopped,
                raise_interrupt=False,
            )
            for changes in found:
                names = {Path(path) for _, path in changes if not Path(path).is_dir()}
                new = set(folders(root)) - set(watched)
                if names or new:
                    self._names.put(sorted(str(path.relative_to(root)) for path in names | new))
                if new:
                    break  # to watch them, too


def folders(root: Path) -> Iterator[Path]:
    """The top folder, those in it, and all of its packages, but for tests."""
    yield root
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith((".", "_")) or folder.name == "tests":
            continue
        if (folder / "__init__.py").exists():
            yield from (path for path in folder.rglob("*/") if path.name not in {"__pycache__", "samples"})
        if os.access(folder, os.R_OK):
            yield folder  # it may become a package


def matters(path: Path) -> bool:
    """Whether a change of this file or folder is one of what the processes read at their start."""
    name = path.name
    if not name.startswith((".", "_")) and path.is_dir():
        return True  # a package that was not there before
    if name.startswith("test_") or name in {"conftest.py", "pyproject.toml"}:
        return False
    if name.endswith(".toml"):
        return any((folder / "__init__.py").exists() for folder in path.parents) or _is_payload_map(path)
    return name.endswith((".py", ".lua")) or env_file() == Path(name)


def _is_payload_map(path: Path) -> bool:
    with suppress(SettingsError):  # a `.env` that is wrong just now
        where = load(PayloadMapSettings).payload_map
        return where is not None and where.absolute() == path.absolute()
    return False


def run_again(*arguments: str) -> int:
    """Run `python -m <arguments>` until SIGINT or SIGTERM, anew whenever a file changes. Its last exit code."""
    changes = Changes()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: changes.stop())
    while True:
        process = subprocess.Popen([sys.executable, "-m", *arguments], **with_parent())  # noqa: S603 - our own command
        changed = changes.wait()
        process.terminate()
        code = process.wait()
        if changes.stopped:
            return max(code, 0)  # below 0 it was ended before it had begun to listen to signals
        typer.echo(f"{', '.join(changed)} changed: {arguments[0]} starts again", err=True)
