"""Processes of the kit, forked from one that has everything imported: a start costs a tenth of what Python's own does.

What runs in them is what `python -m …` runs, with a process id, signals, sockets and an exit code of its own. Requests
and answers are lines of JSON: `python -m tests.forks` reads the former and writes the latter.
"""

import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent
IMPORTED = (
    *("receiver.__main__", "worker.__main__", "examples.handlers", "examples.sink", "worker.up"),
    "examples.sender.__main__",
)


class Forked:
    """One process, as `subprocess.Popen` shows it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal. Raises `subprocess.TimeoutExpired`."""
        if not self._ended.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def end(self, code: int) -> None:
        self.returncode = code
        self._ended.set()


class Forks:
    """Starts processes, from the side of the tests."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._started: SimpleQueue[Forked] = SimpleQueue()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def start(self, arguments: tuple[str, ...], env: dict[str, str], out: Path) -> Forked:
        """Run `python -m <arguments>` in the folder of `out`, with these variables alone, its output in that file."""
        assert self._parent.stdin is not None
        request = {"arguments": arguments, "env": env, "out": str(out)}
        self._parent.stdin.write(json.dumps(request) + "\n")
        self._parent.stdin.flush()
        return self._started.get(timeout=20)

    def stop(self) -> None:
        """End what is still running."""
        assert self._parent.stdin is not None
        self._parent.stdin.close()
        self._parent.wait(20)
        self._listening.join(20)

    def _listen(self) -> None:
        """Note who was started and who has ended, in the order in which it happens."""
        running: dict[int, Forked] = {}
        assert self._parent.stdout is not None
        with self._parent.stdout as answers:
            for line in answers:
                told = json.loads(line)
                if "code" in told:
                    running.pop(told["pid"]).end(told["code"])
                else:
                    running[told["pid"]] = Forked(told["pid"])
                    self._started.put(running[told["pid"]])


def serve() -> None:
    """Fork one process for each request, and tell of its end; end them all when there are no more requests."""
    for module in IMPORTED:
        with suppress(ModuleNotFoundError):  # examples/ can be deleted, whole or in part
            importlib.import_module(module)
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: set[int] = set()
    requests, more = b"", True
    while more:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            running -= _reap()
        if 0 in ready:
            read = os.read(0, 1 << 16)
            *whole, requests = (requests + read).split(b"\n")
            running |= {_fork(json.loads(request)) for request in whole}
            more = bool(read)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _become(request)
    _tell(pid=pid)
    return pid


def _reap() -> set[int]:
    ended: set[int] = set()
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.add(pid)
        _tell(pid=pid, code=os.waitstatus_to_exitcode(status))


def _tell(**answer: int) -> None:
    os.write(1, (json.dumps(answer) + "\n").encode())


def _become(request: dict[str, Any]) -> NoReturn:
    """Be the process that was asked for; it ends as any other does."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has what runs in its background ignore Ctrl-C
    out = Path(request["out"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(out, os.O_WRONLY | os.O_APPEND), 1)
    os.dup2(1, 2)
    os.closerange(3, 64)
    os.chdir(out.parent)
    os.environ.clear()
    os.environ.update(request["env"])
    random.seed()  # or all would roll the same dice
    module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    sys.path[:1] = [str(out.parent), str(ROOT)]
    main = f"{module}.__main__" if hasattr(sys.modules.get(module), "__path__") else module
    sys.modules.pop(main, None)  # it was imported for what it imports
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    serve()
