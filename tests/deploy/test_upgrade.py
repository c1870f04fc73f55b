"""An upgrade and a rollback while events arrive, in the order that docs/operations.md gives.

The other version is a commit before this one, in a folder of its own, on the same Redis and the same spool.
"""

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from redis import Redis

from tests.conftest import ROOT, TOKEN, Process, Server, Start, wait_until
from tests.deploy.sending import Sending
from tests.receiver.conftest import Answer, Receiver, listening

BEFORE = "ef9bfc4"
"""The commit before the guard of the public port."""
HANDLERS = """
async def note(event, ctx):
    with open("handled", "a") as file:
        file.write(event.id + "\\n")

ROUTES = {"*": [note]}
"""


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The other version's tree."""
    archive = subprocess.run(
        ["git", "archive", BEFORE, "receiver", "worker"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"this clone does not have the commit {BEFORE}: git fetch --unshallow")
    tree = tmp_path / "before"
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree


class Site:
    """The processes of one Redis, each of either version."""

    def __init__(self, start: Start, folder: Path, before: Path, redis_url: str) -> None:
        self._start, self._handled = start, folder / "handled"
        self._settings = {"REDIS_URL": redis_url, "SPOOL_PATH": str(folder / "spool.db"), "WEBHOOK_TOKEN": TOKEN}
        self._settings |= {"HANDLERS": "h:ROUTES", "PORT": "0"}
        self._before = {"PYTHONPATH": str(before)}
        (folder / "h.py").write_text(HANDLERS)

    def receiver(self, *, old: bool = False) -> Receiver:
        return listening(self._start("-m", "receiver", **self._settings, **(self._before if old else {})))

    def worker(self, *, old: bool = False) -> Process:
        worker = self._start("-m", "worker", **self._settings, **(self._before if old else {}))
        worker.wait_for("worker running")
        return worker

    def handled(self) -> Counter[str]:
        return Counter(self._handled.read_text(encoding="utf-8").split() if self._handled.exists() else [])


def test_nothing_is_lost_or_done_twice_by_an_upgrade_and_a_rollback(
    start: Start, server: Server, before: Path, tmp_path: Path
) -> None:
    """Upgrade: workers first, then receivers. Rollback: receivers first, then workers, then what waits."""
    site = Site(start, tmp_path, before, server.url)
    old_worker, old_receiver = site.worker(old=True), site.receiver(old=True)
    in_service = [old_receiver]

    def deliver(body: bytes) -> Answer:
        return in_service[-1].post(body)

    with Sending(deliver) as sending:
        sending.more(30)

        new_worker = site.worker()
        old_worker.stop()
        sending.more(30)
        server.freeze()  # what one version spools
        sending.more(5)
        new_receiver = site.receiver()  # the other one drains
        in_service.append(new_receiver)
        assert old_receiver.process.stop() == 0
        server.thaw()
        sending.more(30)

        old_receiver = site.receiver(old=True)
        in_service.append(old_receiver)
        assert new_receiver.process.stop() == 0
        old_worker = site.worker(old=True)
        assert new_worker.stop() == 0
        with Redis.from_url(server.url) as redis:  # as CHANGELOG says: it may have taken over what it did not start
            redis.zunionstore("arq:queue", ("arq:queue", "glartek:queue"), aggregate="MIN")
            redis.delete("glartek:queue")
        sending.more(30)
    wait_until(lambda: set(sending.acknowledged) <= set(site.handled()), explain=lambda: old_worker.output)
    assert site.handled() == Counter(sending.acknowledged)
    assert not [line for line in old_worker.output.splitlines() if '"level": "error"' in line]
