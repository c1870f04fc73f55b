"""docker-compose.yml's profile `sentinel` with real servers: its commands, files and users, on this machine's ports."""

import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from receiver.queue.valkey import server_binary
from tests.conftest import ROOT, TOKEN, Start, unused_port, wait_until
from tests.deploy.test_compose import SERVICES
from tests.deploy.valkey import secrets
from tests.receiver.conftest import event, listening


@contextmanager
def server(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A Valkey or a Sentinel with its log in a folder of its own."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([server_binary(), *arguments], cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def as_in_compose(service: str, folder: Path, made: Path, ports: dict[str, int]) -> list[str]:
    """The service's command, for this machine."""
    command = shlex.split(SERVICES[service]["command"])
    assert command.pop(0) == "valkey-server"
    copy = shutil.copy(ROOT / "deploy" / "valkey" / "valkey.conf", folder)  # Sentinel has the server rewrite its file
    here = {
        "/etc/valkey/valkey.conf": str(copy),
        "/data": str(folder),
        "/run/secrets/users.acl": str(made / "users.acl"),
        "/run/secrets/replication.conf": str(made / "replication.conf"),
        "valkey": "127.0.0.1",
        "valkey-replica": "127.0.0.1",
        "6379": str(ports["valkey"]),
    }
    return [*(here.get(word, word) for word in command), "--port", str(ports[service])]


def test_a_replica_takes_over_with_the_users_and_files_that_are_shipped(start: Start, tmp_path: Path) -> None:
    """The master is killed: the Sentinels make the replica the master, which has what was acknowledged."""
    made = secrets(tmp_path / "secrets", "--sentinel")
    password = (made / "redis_admin_password").read_text(encoding="utf-8")
    sentinels = ("one", "two", "three")
    ports = {name: unused_port() for name in ("valkey", "valkey-replica", *sentinels)}
    with ExitStack() as stack:
        servers = {}
        for name in ports:
            (tmp_path / name).mkdir()
        for name in ("valkey", "valkey-replica"):
            command = as_in_compose(name, tmp_path / name, made, ports)
            servers[name] = stack.enter_context(server(tmp_path / name, *command))
        valkey, replica = (
            stack.enter_context(Redis(port=ports[name], username="admin", password=password)) for name in servers
        )
        wait_until(lambda: tells(lambda: valkey.info("replication").get("min_slaves_good_slaves") == 1))
        for name in sentinels:
            (tmp_path / name / "sentinel.conf").write_text(configuration(made, ports, name))
            stack.enter_context(server(tmp_path / name, "sentinel.conf", "--sentinel"))
        asked = [stack.enter_context(Redis(port=ports[name])) for name in sentinels]
        for one in asked:
            know = {"num-slaves": 1, "num-other-sentinels": 2}
            wait_until(lambda: tells(lambda: know.items() <= one.sentinel_master("glartek").items()))  # noqa: B023

        url = (made / "redis_url").read_text(encoding="utf-8")
        url = url.replace("sentinel:26379", ",".join(f"127.0.0.1:{ports[name]}" for name in sentinels))
        settings = {"REDIS_URL": url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "WAIT_REPLICAS": "1"}
        receiver = listening(start("-m", "receiver", **settings, SPOOL_PATH=str(tmp_path / "spool.db")))
        assert receiver.post(event("before")).status == 200
        servers["valkey"].kill()
        assert receiver.post(event("meanwhile")).status == 200
        wait_until(
            lambda: tells(lambda: replica.info("replication")["role"] == "master"), explain=lambda: logs(tmp_path)
        )
        kept = replica.keys("*job:*")
    assert "redis is away: spooling" in receiver.process.output
    assert "NOPERM" not in logs(tmp_path)
    assert kept


def configuration(made: Path, ports: dict[str, int], name: str) -> str:
    """The Sentinel's file as it is put together in its container, for this machine."""
    shipped = (ROOT / "deploy" / "valkey" / "sentinel.conf").read_text(encoding="utf-8")
    for old, new in {
        "port 26379": f"port {ports[name]}",
        "glartek valkey 6379": f"glartek 127.0.0.1 {ports['valkey']}",
        # Three that see it at the same moment would each vote for itself, and try again a minute later.
        "glartek 5000": "glartek 3000" if name == "three" else "glartek 500",
    }.items():
        assert old in shipped
        shipped = shipped.replace(old, new)
    return shipped + (made / "sentinel.conf").read_text(encoding="utf-8")


def tells(condition: Callable[[], bool]) -> bool:
    """Whether it holds; a server that does not answer yet has not told."""
    try:
        return condition()
    except RedisError:
        return False


def logs(folder: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace")[-3000:] for path in folder.glob("*/log"))
