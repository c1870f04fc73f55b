"""A command of the kit on a terminal: what it writes there, and what somebody types."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parent.parent


class Terminal:
    """`python -m <arguments>` on a terminal of its own, with exactly the variables given."""

    def __init__(self, *arguments: str, cwd: Path | None = None, **env: str) -> None:
        self._terminal, theirs = pty.openpty()
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"} | env
        command = [sys.executable, "-m", *arguments]
        self._process = subprocess.Popen(command, env=env, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._written = b""

    @property
    def output(self) -> str:
        return self._written.decode(errors="replace")

    def wait_for(self, text: str) -> None:
        while text not in self.output:
            self._written += os.read(self._terminal, 65536)

    def type_at(self, question: str, answer: str) -> None:
        self.wait_for(question)
        os.write(self._terminal, answer.encode())

    def end(self, code: int = 0) -> str:
        """All that it wrote; it ends by itself with this exit code."""
        with suppress(OSError):  # what Linux says at a terminal's end
            while said := os.read(self._terminal, 65536):
                self._written += said
        os.close(self._terminal)
        assert self._process.wait(20) == code, self.output
        return self.output

    def stop(self) -> str:
        """All that it wrote; it is told to end."""
        self._process.terminate()
        return self.end()
