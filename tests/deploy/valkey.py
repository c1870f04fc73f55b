"""A real Valkey with the configuration, users and passwords of `deploy/`."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from receiver.queue.valkey import server_binary
from tests.conftest import ROOT, unused_port, wait_until


def secrets(folder: Path, *options: str) -> Path:
    """What `deploy/secrets` makes."""
    command = [str(ROOT / "deploy" / "secrets"), "--folder", str(folder), "--redis", "127.0.0.1", *options]
    subprocess.run(command, cwd=folder.parent, check=True, capture_output=True)
    return folder


class Valkey:
    """One server on a port of its own, its data in `folder`/redis."""

    def __init__(self, folder: Path, program: str | None = None) -> None:
        self.port = unused_port()
        self._program = program or server_binary()
        self.data = folder / "redis"
        self.secrets = secrets(folder / "secrets")
        self.log = folder / "valkey.log"
        self.url = self.secret("redis_url").replace(":6379", f":{self.port}")
        self._process: subprocess.Popen[bytes] | None = None

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8")

    def admin(self) -> Redis:
        return Redis(port=self.port, username="admin", password=self.secret("redis_admin_password"))

    def health(self) -> Redis:
        return Redis(port=self.port, username="health", password="any", lib_name=None, lib_version=None)

    def start(self) -> None:
        """The shipped file, with this machine's port and folders beside it, as docker-compose.yml does."""
        self.data.mkdir(exist_ok=True)
        command = [self._program, str(ROOT / "deploy" / "valkey" / "valkey.conf"), "--port", str(self.port)]
        command += ["--dir", str(self.data), "--bind", "*", "--aclfile", str(self.secrets / "users.acl")]
        command += ["--include", str(self.secrets / "replication.conf")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, explain=lambda: self.log.read_text(encoding="utf-8"))

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()

    def _answers(self) -> bool:
        with suppress(RedisConnectionError), self.health() as client:  # a server that is loading counts as one, too
            return bool(client.ping())
        return False

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(10)


@contextmanager
def running(folder: Path, program: str | None = None) -> Iterator[Valkey]:
    """A Valkey, or the server that `program` is, that is running for as long as the block does."""
    valkey = Valkey(folder, program)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.stop()
