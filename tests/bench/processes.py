"""The processes of a run: they live no longer than we do, and what they use is read from /proc."""

import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from receiver.queue.valkey import with_parent

ROOT = Path(__file__).parents[2]
TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A run that cannot go on: one line that says why."""


class Process:
    """A command in a process of its own, its output in a file beside its data."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        environment = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "PYTHONPATH": str(ROOT), **env}
        options: dict[str, Any] = with_parent()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, env=environment, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options
            )
        self.pid = self._process.pid

    def until_listening(self, port: int, within: float = 30.0) -> None:
        """Return when something listens on the port; raises `BenchError` with the output when it does not."""
        deadline = time.monotonic() + within
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise BenchError(f"{self._log.stem} did not start: {said}")
            time.sleep(0.02)

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        return cpu_seconds(self.pid)

    def memory(self, what: str = "VmRSS") -> float:
        """Bytes that it holds now, or has held at most (`VmHWM`)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(float(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{what}:"))

    def stop(self) -> None:
        """End it as an operator would; by force if it takes too long."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process has used: for each event, steadier than a rate on a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
