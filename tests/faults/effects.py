"""A journal of handler runs: one line for the start and one for the end of each run, written at once.

Each line is a single `write` to a file opened with O_APPEND, so that a killed process leaves only whole lines. So the
harness knows what a handler did even if the kit has no record of it.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DIRECTORY = "FAULTS_EFFECTS"
PROCESS = "FAULTS_PROCESS"
"""Environment variables: the folder of the files, and the unique name of one life of a process (`worker-0.3`)."""

How = Literal["done", "skipped", "failed", "gave up", "cancelled", ""]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a handler; `how` is empty and `ended` infinite if no end was written. Times are Unix seconds."""

    event: str
    handler: str
    attempt: int
    process: str
    started: float
    ended: float = float("inf")
    how: How = ""


class Journal:
    """The journal of one process."""

    def __init__(self, directory: Path, process: str) -> None:
        self._file = os.open(directory / f"{process}.effects", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, event: str, handler: str, attempt: int) -> None:
        os.write(self._file, f"{time.time():.6f}\t{what}\t{event}\t{handler}\t{attempt}\n".encode())


def journal() -> Journal:
    """The journal of this process, according to its environment."""
    return Journal(Path(os.environ[DIRECTORY]), os.environ[PROCESS])


def read(directory: Path) -> Iterator[Run]:
    """All runs in the journals, process by process."""
    for path in sorted(directory.glob("*.effects")):
        yield from _runs(path.stem, path.read_text(encoding="utf-8"))


def _runs(process: str, text: str) -> Iterator[Run]:
    open_runs: dict[tuple[str, str, int], float] = {}
    for line in text.splitlines():
        at, what, event, handler, attempt = line.split("\t")
        key = (event, handler, int(attempt))
        if what == "start":
            if key in open_runs:  # started again by the same process before its end
                yield Run(*key, process, open_runs[key])
            open_runs[key] = float(at)
        else:
            how: How = what  # type: ignore[assignment]  # only values of `How` are written
            yield Run(*key, process, open_runs.pop(key, float(at)), float(at), how)
    for key, started in open_runs.items():
        yield Run(*key, process, started)
