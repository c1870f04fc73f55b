"""The processes of the whole kit on one machine: starts, restarts and ends them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from receiver.queue.valkey import Server, with_parent

COMMANDS = {"receiver": ("-m", "receiver"), "worker": ("-m", "worker"), "console": ("-m", "worker", "console")}
"""The processes of the kit by name, in the order in which they are started."""


@dataclass
class Running:
    """What is running: the processes by name, and where they are reached."""

    base: str
    console: str
    token: str
    redis_url: str
    environment: Mapping[str, str]
    sink: str | None
    stand_ins: list[str]
    """The settings that nobody has given and a handler reads: a stand-in takes the place of each."""
    server: Server | None
    output: IO[bytes] | None
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The Endpoint URL, token included."""
        return f"{self.base}/webhooks/glartek/{self.token}"

    def start(self, name: str) -> None:
        """Start one of `COMMANDS`."""
        self.processes[name] = spawn(COMMANDS[name], self.environment, self.output)

    def restart(self, names: Sequence[str]) -> None:
        """End these, all at once, and start each again."""
        for name in names:
            self.processes[name].terminate()
        for name in names:
            _wait_for_end(self.processes[name])
            self.start(name)

    def dead(self) -> dict[str, int]:
        """The exit codes of processes that ended by themselves."""
        codes = {name: process.poll() for name, process in self.processes.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self) -> None:
        """End the processes, the receiver first, and wait until they have."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            _wait_for_end(process)


def spawn(
    arguments: tuple[str, ...], environment: Mapping[str, str], output: IO[bytes] | int | None
) -> "subprocess.Popen[bytes]":
    """A Python process with these arguments, which ends with this one."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output == subprocess.PIPE else output,
        **with_parent(),
    )


def _wait_for_end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
