"""What handlers did, as they did it: one line for the start and one for the end of each run, appended at once.

A line is written with a single `write` to a file opened with O_APPEND, so a process that is killed leaves whole
lines behind, and what it did counts even where nobody recorded it.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DIRECTORY = "FAULTS_EFFECTS"
PROCESS = "FAULTS_PROCESS"
"""Environment variables: where the files are, and the name of one life of a process (`worker-0.3`), its own alone."""

How = Literal["done", "skipped", "failed", "gave up", "cancelled", ""]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one handler; `how` is empty and `ended` infinite when no end was written. Times are Unix seconds."""

    event: str
    handler: str
    attempt: int
    process: str
    started: float
    ended: float = float("inf")
    how: How = ""


class Journal:
    """Where one process writes."""

    def __init__(self, directory: Path, process: str) -> None:
        self._file = os.open(directory / f"{process}.effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, event: str, handler: str, attempt: int) -> None:
        os.write(self._file, f"{time.time():.6f}\t{what}\t{event}\t{handler}\t{attempt}\n".encode())


def journal() -> Journal:
    """The journal of this process, from its environment."""
    return Journal(Path(os.environ[DIRECTORY]), os.environ[PROCESS])


def read(directory: Path) -> Iterator[Run]:
    """Every run that was written, process by process."""
    for path in sorted(directory.glob("*.effects")):
        yield from _runs(path.stem, path.read_text(encoding="utf-8"))


def _runs(process: str, text: str) -> Iterator[Run]:
    open_runs: dict[tuple[str, str, int], float] = {}
    for line in text.splitlines():
        at, what, event, handler, attempt = line.split("\t")
        key = (event, handler, int(attempt))
        if what == "start":
            if key in open_runs:  # the same process started it again while it ran
                yield Run(*key, process, open_runs[key])
            open_runs[key] = float(at)
        else:
            how: How = what  # type: ignore[assignment]  # only the words of `How` are ever written
            yield Run(*key, process, open_runs.pop(key, float(at)), float(at), how)
    for key, started in open_runs.items():
        yield Run(*key, process, started)
