"""Several systems side by side, as docs/scaling.md has them: two Valkeys, a receiver and a worker each, one nginx."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from tests.conftest import ROOT, Process, Server, Start, wait_until
from tests.deploy.proxies import free_port, program, required
from tests.receiver.conftest import event, listening

TOKENS = {"porto": "a-token-of-porto-0123456789abcdef", "aveiro": "a-token-of-aveiro-0123456789abcde"}
HANDLERS = """
async def note(event, ctx):
    with open({file!r}, "a", encoding="utf-8") as file:
        print(event.id, file=file)

ROUTES = {{"*": [note]}}
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

    def handled(self) -> list[str]:
        """The ids of the events that its handler was given, in order of their names."""
        file = self.folder / "handled"
        return sorted(file.read_text(encoding="utf-8").split()) if file.exists() else []

    def accepted(self) -> int:
        with Redis.from_url(self.server.url) as redis:
            return int(redis.hget("glartek:counts", "accepted") or 0)

    def keys(self) -> set[str]:
        """Of its deliveries."""
        with Redis.from_url(self.server.url) as redis:
            return {key.decode() for key in redis.scan_iter("glartek:delivery:*")}


@pytest.fixture
def shards(tmp_path: Path, start: Start) -> Iterator[dict[str, Shard]]:
    shards = {}
    for name, token in TOKENS.items():
        folder = tmp_path / name
        folder.mkdir()
        server = Server(folder / "valkey")
        server.start()
        acts = HANDLERS.format(file=str(folder / "handled"))
        (tmp_path / f"acts_{name}.py").write_text(acts, encoding="utf-8")  # the processes run in that folder
        settings = {
            "REDIS_URL": server.url,
            "WEBHOOK_TOKEN": token,
            "SPOOL_PATH": str(folder / "spool.db"),
            "PORT": "0",
            "HANDLERS": f"acts_{name}:ROUTES",
        }
        receiver, worker = start("-m", "receiver", **settings), start("-m", "worker", **settings)
        worker.wait_for("worker running")
        shards[name] = Shard(name, folder, server, receiver, listening(receiver).port, worker)
    yield shards
    for shard in shards.values():
        shard.server.stop()


@pytest.fixture
def send(shards: dict[str, Shard], tmp_path: Path) -> Iterator["Sender"]:
    """Nginx with the blocks of the page, and who sends through it."""
    required("nginx")
    port = free_port()
    (tmp_path / "nginx.conf").write_text(_configuration(shards, port, tmp_path), encoding="utf-8")
    nginx = subprocess.Popen([str(program("nginx")), "-c", str(tmp_path / "nginx.conf")], cwd=tmp_path)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=12) as client:
        sender = Sender(client)
        wait_until(sender.is_up)
        yield sender
    nginx.terminate()
    nginx.wait(15)


class Sender:
    """Posts events to a tenant's Endpoint URL."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def is_up(self) -> bool:
        try:
            return (self._client.get("/")).status_code == 404
        except httpx2.TransportError:
            return False

    def __call__(self, tenant: str, name: str) -> int:
        """The status of the answer."""
        path = f"/{tenant}/webhooks/glartek/{TOKENS[tenant]}"
        return (self._client.post(path, content=event(name))).status_code


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


def test_one_that_is_away_is_no_trouble_for_the_other(shards: dict[str, Shard], send: Sender) -> None:
    """A frozen Valkey, a stopped receiver: the other tenant's events are answered and handled as if nothing was."""
    porto, aveiro = shards.values()
    porto.server.freeze()
    assert send("porto", "spooled") == 200
    assert send("aveiro", "a1") == 200
    wait_until(lambda: aveiro.handled() == ["a1"])
    assert porto.handled() == []
    porto.server.thaw()
    wait_until(lambda: porto.handled() == ["spooled"], timeout=30)
    assert porto.receiver.stop() == 0
    assert send("porto", "nobody there") in {502, 504}
    assert send("aveiro", "a2") == 200
    wait_until(lambda: aveiro.handled() == ["a1", "a2"])
