"""Several systems side by side, as docs/scaling.md has them: two Valkeys, a receiver and a worker each, one nginx."""

import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis import Redis

from tests.conftest import ROOT, Process, Server, Start, unused_port, wait_until
from tests.deploy.proxies import program, required
from tests.receiver.conftest import event, listening

TOKENS = {"porto": "a-token-of-porto-0123456789abcdef", "aveiro": "a-token-of-aveiro-0123456789abcde"}
HANDLERS = """
import os
from pathlib import Path
from worker import RetryLater, in_order

FOLDER = Path(os.environ["FOLDER"])

async def note(event, ctx):
    if (FOLDER / "not-yet").exists():
        raise RetryLater(0.1, "not yet")
    with (FOLDER / "handled").open("a", encoding="utf-8") as file:
        print(event.id, ctx.idempotency_key, file=file)

ROUTES = {"*": [in_order(note)]}
"""


@dataclass
class Shard:
    """One complete system in a folder of its own."""

    name: str
    folder: Path
    server: Server
    receiver: Process
    port: int
    worker: Process
    settings: dict[str, str]

    def handled(self) -> list[str]:
        """The ids of the events that its handler was given, in order of their names."""
        return sorted(event_id for event_id, _ in self.runs())

    def runs(self) -> list[tuple[str, str]]:
        """Each event's id and idempotency key, as the handler was given them."""
        file = self.folder / "handled"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [(event_id, key) for event_id, key in map(str.split, lines)]

    def accepted(self) -> int:
        with Redis.from_url(self.server.url) as redis:
            return int(redis.hget("glartek:counts", "accepted") or 0)

    def keys(self) -> set[str]:
        """Of its deliveries."""
        with Redis.from_url(self.server.url) as redis:
            return {key.decode() for key in redis.scan_iter("glartek:delivery:*")}

    def open_jobs(self) -> int:
        """What `python -m worker status` shows as waiting and running."""
        with Redis.from_url(self.server.url) as redis:
            return int(redis.zcard("glartek:queue")) + int(redis.zcard("glartek:leases"))

    def written(self) -> bytes:
        """Everything that its Valkey was ever given to keep."""
        return b"".join(path.read_bytes() for path in (self.folder / "valkey").rglob("*.aof"))


@pytest.fixture
def shards(tmp_path: Path, start: Start) -> Iterator[dict[str, Shard]]:
    shards = {}
    (tmp_path / "acts.py").write_text(HANDLERS, encoding="utf-8")  # the processes run in that folder
    for name, token in TOKENS.items():
        folder = tmp_path / name
        folder.mkdir()
        server = Server(folder / "valkey")
        server.start()
        settings = {
            "REDIS_URL": server.url,
            "WEBHOOK_TOKEN": token,
            "SPOOL_PATH": str(folder / "spool.db"),
            "PORT": "0",
            "HANDLERS": "acts:ROUTES",
            "FOLDER": str(folder),
        }
        receiver, worker = start("-m", "receiver", **settings), start("-m", "worker", **settings)
        worker.wait_for("worker running")
        shards[name] = Shard(name, folder, server, receiver, listening(receiver).port, worker, settings)
    yield shards
    for shard in shards.values():
        shard.server.stop()


@pytest.fixture
def send(shards: dict[str, Shard], tmp_path: Path) -> Iterator["Sender"]:
    """Nginx with the blocks of the page, and who sends through it."""
    required("nginx")
    port = unused_port()
    (tmp_path / "nginx.conf").write_text(_configuration(shards, port, tmp_path), encoding="utf-8")
    nginx = subprocess.Popen([str(program("nginx")), "-c", str(tmp_path / "nginx.conf")], cwd=tmp_path)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=12) as client:
        sender = Sender(client, tmp_path / "nginx.conf", nginx)
        wait_until(lambda: sender.elsewhere() == 404)
        yield sender
    nginx.terminate()
    nginx.wait(15)


class Sender:
    """Posts events to a tenant's Endpoint URL, through an nginx that can be told another way."""

    def __init__(self, client: httpx2.Client, configuration: Path, nginx: "subprocess.Popen[bytes]") -> None:
        self._client, self._configuration, self._nginx = client, configuration, nginx

    def elsewhere(self) -> int:
        """The status for a path that is no tenant's; 0 where nobody listens."""
        try:
            return (self._client.get("/")).status_code
        except httpx2.TransportError:
            return 0

    def __call__(self, tenant: str, name: str, token: str = "", **more: object) -> int:
        """The status of the answer."""
        path = f"/{tenant}/webhooks/glartek/{token or TOKENS[tenant]}"
        return (self._client.post(path, content=event(name, note=f"only {tenant}'s", **more))).status_code

    def move(self, tenant: str, to: str) -> None:
        """Lead a tenant's URL to another system, as an operator does; returns once nginx does."""
        text = self._configuration.read_text(encoding="utf-8")
        old, new = (f"location /{tenant}/webhooks/glartek/ +{{ proxy_pass http://{name}/" for name in (tenant, to))
        text, count = re.subn(old, new.replace(" +", " "), text)
        assert count == 1
        self._configuration.write_text(text.replace("return 404", "return 410"), encoding="utf-8")
        self._nginx.send_signal(signal.SIGHUP)  # as `systemctl reload nginx`
        wait_until(lambda: self.elsewhere() == 410)  # the new configuration's


def _configuration(shards: dict[str, Shard], port: int, folder: Path) -> str:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    upstreams, inside = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    for name, shard in shards.items():
        upstreams, count = re.subn(
            rf"(upstream {name} +{{ server )[0-9.:]+;", rf"\g<1>127.0.0.1:{shard.port};", upstreams
        )
        assert count == 1
    folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in folders)
    rest = f"pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}} daemon off;"
    server = f"server {{ listen 127.0.0.1:{port}; {inside} location / {{ return 404; }} }}"
    return f"{rest}\nhttp {{ {temporary} access_log off;\n{upstreams}\n{server} }}\n"


def _has_handled(shard: Shard, ids: list[str]) -> bool:
    return shard.handled() == ids


def test_nothing_is_shared(shards: dict[str, Shard], send: Sender) -> None:
    """Each tenant's events are handled once, by its own system; an id that both use is an event of each."""
    porto, aveiro = shards.values()
    ids = {"porto": ["same", "p1", "p2"], "aveiro": ["same", "a1"]}
    for tenant, names in ids.items():
        for name in [*names, *names]:
            assert send(tenant, name) == 200
    for tenant, names in ids.items():
        wait_until(partial(_has_handled, shards[tenant], sorted(names)))
        assert shards[tenant].accepted() == len(names)
    assert len(porto.keys()) == 3
    assert len(porto.keys() & aveiro.keys()) == 1  # that of `same`: its name is made of the id alone
    for shard, other in ((porto, aveiro), (aveiro, porto)):
        assert f"only {shard.name}'s".encode() in shard.written()
        assert f"only {other.name}'s".encode() not in shard.written()
    assert send("aveiro", "crossed", token=TOKENS["porto"]) == 404


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_one_that_is_away_is_no_trouble_for_the_other(shards: dict[str, Shard], send: Sender, how: str) -> None:
    """A Valkey away, a receiver stopped: the other tenant's events are answered and handled as if nothing was."""
    porto, aveiro = shards.values()
    leave, come_back = {
        "frozen": (porto.server.freeze, porto.server.thaw),
        "killed": (porto.server.kill, porto.server.start),
    }[how]
    leave()
    assert send("porto", "spooled") == 200
    assert send("aveiro", "a1") == 200
    wait_until(lambda: aveiro.handled() == ["a1"])
    assert porto.handled() == []
    come_back()
    wait_until(lambda: porto.handled() == ["spooled"], timeout=30)
    assert porto.receiver.stop() == 0
    assert send("porto", "nobody there") in {502, 504}
    assert send("aveiro", "a2") == 200
    wait_until(lambda: aveiro.handled() == ["a1", "a2"])
    assert b"only porto's" not in aveiro.written()


def test_a_tenant_moves_in_order(shards: dict[str, Shard], send: Sender, start: Start) -> None:
    """By the page's steps nothing waits at the sender, is lost, or is handled before what came earlier.

    An event that comes again after the move is handled again, under the same idempotency key.
    """
    porto, aveiro = shards.values()
    subject: dict[str, Any] = {"action": {"id": "7"}}
    (porto.folder / "not-yet").touch()
    assert [send("porto", name, **subject) for name in ("first", "second")] == [200, 200]
    both = aveiro.settings | {"WEBHOOK_TOKEN": ",".join(TOKENS.values()), "PORT": str(aveiro.port)}
    assert aveiro.receiver.stop() == 0  # 1: its receivers know the tenant's token
    listening(start("-m", "receiver", **both))
    assert aveiro.worker.stop() == 0  # 2
    send.move("porto", to="aveiro")  # 3
    assert send("porto", "third", **subject) == 200
    (porto.folder / "not-yet").unlink()
    wait_until(lambda: porto.open_jobs() == 0)  # 4
    assert [name for name, _ in porto.runs()] == ["first", "second"]
    assert aveiro.runs() == []
    start("-m", "worker", **both)  # 5
    wait_until(lambda: aveiro.handled() == ["third"])
    assert send("porto", "first", **subject) == 200
    wait_until(lambda: aveiro.runs()[1:] == porto.runs()[:1])
