"""Valkey with a replica and a Sentinel: a failover loses nothing that a sender was told is stored."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis
from redis.exceptions import RedisError

from receiver.queue.valkey import server_binary
from tests.conftest import TOKEN, Start, wait_until
from tests.receiver.conftest import event, listening

HANDLER = """
from pathlib import Path

async def note(event, ctx):
    with Path("handled").open("a") as file:
        file.write(f"{event.id}\\n")

ROUTES = {"*": [note]}
"""


@dataclass
class Node:
    """A server that can be killed and started again where it was."""

    port: int
    command: list[str]
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=log)
        wait_until(lambda: self.ask("PING"))

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def ask(self, *command: str | int) -> Any:
        """What it answers; None when it does not."""
        with suppress(RedisError, OSError), Redis(port=self.port, socket_timeout=1) as client:
            return client.execute_command(*command)
        return None

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Nodes:
    master: Node
    replica: Node
    sentinel: Node

    def master_port(self) -> int:
        """Where Sentinel says that the master is."""
        address = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "kit")
        return int(address[1]) if address else 0


@contextmanager
def running(folder: Path) -> Iterator[Nodes]:
    """Master, replica and Sentinel, once each knows the others."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        first, second, third = (listener.getsockname()[1] for listener in listeners)
        stack.pop_all().close()
        options = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
        binary = server_binary()
        nodes = Nodes(
            Node(first, [binary, "--port", str(first), *options], folder / "first"),
            Node(
                second, [binary, "--port", str(second), *options, "--replicaof", f"127.0.0.1 {first}"], folder / "two"
            ),
            Node(third, [binary, str(folder / "sentinel.conf"), "--sentinel"], folder / "sentinel"),
        )
        (folder / "sentinel.conf").write_text(
            f"port {third}\nsentinel monitor kit 127.0.0.1 {first} 1\nsentinel down-after-milliseconds kit 1500\n"
            "sentinel failover-timeout kit 2000\n"
        )
        for node in (nodes.master, nodes.replica, nodes.sentinel):
            stack.callback(node.stop)
            node.start()
        wait_until(lambda: nodes.sentinel.ask("SENTINEL", "REPLICAS", "kit"))
        wait_until(lambda: nodes.master.ask("WAIT", 1, 100) == 1)
        yield nodes


def test_a_failover_loses_nothing_where_a_delivery_waits_for_a_replica(start: Start, tmp_path: Path) -> None:
    """What the lost master had alone comes back from the spool, once; Sentinel's new master is found by itself."""
    (tmp_path / "h.py").write_text(HANDLER)
    with running(tmp_path) as nodes:
        url = f"sentinel://127.0.0.1:{nodes.sentinel.port}/kit"
        settings = {"REDIS_URL": url, "WAIT_REPLICAS": "1", "WEBHOOK_TOKEN": TOKEN, "PORT": "0"}
        receiver = listening(start("-m", "receiver", **settings))
        assert receiver.post(event("on both")).status == 200
        wait_until(lambda: nodes.replica.ask("ZCARD", "glartek:queue") == 1)
        nodes.replica.send(signal.SIGSTOP)
        nodes.master.ask("CLIENT", "KILL", "TYPE", "REPLICA")  # else what it is sent would wait in its socket
        answers = [receiver.post(event(f"on the master alone {number}")) for number in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert max(answer.seconds for answer in answers) < 1
        nodes.master.send(signal.SIGKILL)
        nodes.replica.send(signal.SIGCONT)
        wait_until(lambda: nodes.master_port() == nodes.replica.port)
        assert receiver.post(event("with no replica left")).status == 200
        nodes.master.stop()
        nodes.master.command += ["--replicaof", f"127.0.0.1 {nodes.replica.port}"]  # Sentinel would take 10 s to do it
        nodes.master.start()
        worker = start("-m", "worker", REDIS_URL=url, HANDLERS="h:ROUTES")
        expected = ["on both", *(f"on the master alone {number}" for number in range(20)), "with no replica left"]
        handled = tmp_path / "handled"
        wait_until(
            lambda: handled.exists() and len(handled.read_text().splitlines()) >= len(expected),
            explain=lambda: receiver.process.output + worker.output,
        )
        wait_until(lambda: _health(receiver.port)["spooled"] == 0)
        assert sorted(handled.read_text().splitlines()) == sorted(expected)


def _health(port: int) -> dict[str, Any]:
    health: dict[str, Any] = httpx2.get(f"http://127.0.0.1:{port}/healthz").json()
    return health


@pytest.mark.parametrize(("replicas", "level"), [(0, "warning"), (1, "ok"), (2, "unsafe")])
def test_doctor_counts_the_replicas(start: Start, tmp_path: Path, replicas: int, level: str) -> None:
    """Too few replicas for WAIT_REPLICAS are unsafe; one that no delivery waits for is a warning."""
    with running(tmp_path) as nodes:
        nodes.master.ask("CONFIG", "SET", "min-replicas-to-write", 1)
        url = f"redis://127.0.0.1:{nodes.master.port}/0"
        doctor = start(
            "-m", "receiver", "doctor", "--json", REDIS_URL=url, WEBHOOK_TOKEN=TOKEN, WAIT_REPLICAS=str(replicas)
        )
        doctor.wait()
        levels = {finding["check"]: finding["level"] for finding in json.loads(doctor.output)}
        assert levels["replication"] == level, doctor.output
