"""A machine is lost with its data, and a backup put back: nothing that was acknowledged before the backup is lost."""

import json
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

import httpx2
import pytest

from tests.conftest import ROOT, TOKEN, Process, Start, wait_until
from tests.deploy.sending import Sending
from tests.deploy.valkey import Valkey, running
from tests.receiver.conftest import Receiver, event, listening


class Machine:
    """The kit on one machine, all of its data in one folder."""

    def __init__(self, folder: Path, valkey: Valkey, start: Start) -> None:
        self.folder, self.valkey, self._start = folder, valkey, start
        self.audit = folder / "audit.db"
        self._settings = {
            "REDIS_URL": valkey.url,
            "WEBHOOK_TOKEN": TOKEN,
            "SPOOL_PATH": str(folder / "spool.db"),
            "AUDIT_DATABASE_URL": f"sqlite:///{self.audit}",
            "HANDLERS": "only_audit:ROUTES",
            "PORT": "0",
        }

    def start(self) -> None:
        self.worker = self.run("worker")
        self.receiver: Receiver = listening(self.run("receiver"))
        self.worker.wait_for("worker running")

    def run(self, *arguments: str) -> Process:
        return self._start("-m", *arguments, **self._settings)

    def kill(self) -> None:
        """As a power cut does."""
        for process in (self.worker, self.receiver.process):
            process.signal(signal.SIGKILL)
            process.wait()
        self.valkey.send(signal.SIGKILL)

    def spooled(self) -> int:
        answer = httpx2.get(f"http://127.0.0.1:{self.receiver.port}/healthz", trust_env=False)
        spooled: int = answer.json()["spooled"]
        return spooled

    def audited(self) -> set[str]:
        with closing(sqlite3.connect(self.audit)) as audit:
            return {event_id for (event_id,) in audit.execute("SELECT event_id FROM audit_log")}

    def backup(self, command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        where = ["--spool", str(self.folder / "spool.db"), "--redis", str(self.valkey.data), "--audit", str(self.audit)]
        script = [sys.executable, str(ROOT / "deploy" / "backup.py"), command, str(folder), *where, "--json"]
        return subprocess.run(script, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path, start: Start) -> Iterator[Machine]:
    routes = "from examples.handlers import audit_log\n\nROUTES = {'*': [audit_log.append]}\n"
    (tmp_path / "only_audit.py").write_text(routes)
    folder = tmp_path / "machine"
    folder.mkdir()
    with running(folder) as valkey:
        machine = Machine(folder, valkey, start)
        machine.start()
        yield machine


def test_what_was_acknowledged_before_a_backup_is_handled_after_a_restore(machine: Machine, tmp_path: Path) -> None:
    """Handled already, waiting in Redis, or waiting in the spool: every event is in the audit log, once."""
    backups = tmp_path / "backups"
    with Sending(machine.receiver.post) as sending:
        sending.more(50)
        wait_until(machine.audited)
        machine.worker.signal(signal.SIGSTOP)
        sending.more(20)
        machine.valkey.send(signal.SIGSTOP)
        wait_until(lambda: machine.spooled() > 10)
        before = set(sending.acknowledged)
        taken = machine.backup("take", backups)
        sending.more(1)
    machine.kill()
    assert taken.returncode == 0, taken.stderr
    assert 0 < len(machine.audited()) < len(before)

    for path in (machine.valkey.data, *machine.folder.glob("*.db*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    machine.valkey.data.mkdir()
    restored = machine.backup("restore", Path(json.loads(taken.stdout)["folder"]))
    assert restored.returncode == 0, restored.stderr
    machine.valkey.start()
    machine.start()
    wait_until(lambda: before <= machine.audited(), explain=lambda: machine.worker.output)
    wait_until(lambda: machine.spooled() == 0)
    assert machine.receiver.post(event("evt_0")).status == 200  # known: a duplicate of what was handled before
    verified = machine.run("examples.handlers.audit_log", "verify")
    assert verified.wait() == 0, verified.output
    story = machine.run("worker", "show", "evt_0", "--json")
    story.wait()
    assert '"duplicates": 1' in story.output
    assert "conflict" not in machine.worker.output


def test_a_backup_is_whole_while_redis_rewrites_its_file(tmp_path: Path) -> None:
    """However often the append-only file is rewritten meanwhile, a copy holds all that was written before it."""
    with running(tmp_path) as valkey, valkey.admin() as redis:
        stop = threading.Event()

        def rewrite() -> None:
            while not stop.is_set():
                redis.execute_command("BGREWRITEAOF")
                wait_until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"])

        rewriting = threading.Thread(target=rewrite)
        rewriting.start()
        try:
            for number in range(5):
                redis.mset({f"{number}:{key}": "x" * 100 for key in range(2000)})
                taken = take(tmp_path, tmp_path / "backups", "--keep", "2")
                assert taken.returncode == 0, taken.stderr
        finally:
            stop.set()
            rewriting.join()
        valkey.stop()
        shutil.rmtree(valkey.data)
        valkey.data.mkdir()
        backups = sorted((tmp_path / "backups").iterdir())
        assert len(backups) <= 2
        assert take(tmp_path, backups[-1], command="restore").returncode == 0
        valkey.start()
        assert redis.dbsize() == 10_000


def test_a_rewrite_during_the_copy_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis removes files that it has rewritten, at any time of a copy that takes minutes: it is whole all the same."""
    script: Any = runpy.run_path(str(ROOT / "deploy" / "backup.py"))
    with running(tmp_path) as valkey, valkey.admin() as redis:
        redis.mset({f"{key}": "x" for key in range(100)})
        copy = shutil.copyfileobj

        def after_a_rewrite(source: BinaryIO, target: BinaryIO, length: int) -> None:
            redis.execute_command("BGREWRITEAOF")
            wait_until(lambda: not Path(source.name).exists())
            copy(source, target, length)

        monkeypatch.setattr(shutil, "copyfileobj", after_a_rewrite)
        script["_copy_append_only"](valkey.data / "appendonlydir", tmp_path / "copy")
        valkey.stop()
        shutil.rmtree(valkey.data / "appendonlydir")
        (tmp_path / "copy").rename(valkey.data / "appendonlydir")
        valkey.start()
        assert redis.dbsize() == 100


def test_what_redis_is_about_to_remove_is_not_waited_for(tmp_path: Path) -> None:
    """Until the manifest is written anew, which takes an fsync, it names history files that are gone already."""
    data = tmp_path / "redis" / "appendonlydir"
    data.mkdir(parents=True)
    kept = "file a.2.base.rdb seq 2 type b\nfile a.2.incr.aof seq 2 type i\n"
    (data / "a.manifest").write_text(f"file a.1.base.rdb seq 1 type h\n{kept}")
    for name in ("a.2.base.rdb", "a.2.incr.aof"):
        (data / name).write_text(name)
    taken = take(tmp_path, tmp_path / "backups")
    assert taken.returncode == 0, taken.stderr
    [copy] = (tmp_path / "backups").glob("*/appendonlydir")
    assert {path.name for path in copy.iterdir()} == {"a.manifest", "a.2.base.rdb", "a.2.incr.aof"}
    assert (copy / "a.manifest").read_text() == kept


def test_payloads_of_dead_letters_that_left_redis_are_in_a_backup(tmp_path: Path) -> None:
    """They are beside the spool, and their dead letters in Redis name them."""
    dead = tmp_path / "dead"
    dead.mkdir()
    (dead / "name").write_text("0123456789abcdef\n")
    (dead / "00112233445566ff.job").write_bytes(b"payload")
    with running(tmp_path):
        assert take(tmp_path, tmp_path / "backups").returncode == 0
    for path in (dead, tmp_path / "redis"):
        shutil.rmtree(path)
    (tmp_path / "redis").mkdir()
    [folder] = (tmp_path / "backups").iterdir()
    assert take(tmp_path, folder, command="restore").returncode == 0
    assert {path.name: path.read_bytes() for path in dead.iterdir()} == {
        "name": b"0123456789abcdef\n",
        "00112233445566ff.job": b"payload",
    }


def test_a_backup_that_cannot_be_made_or_put_back_is_one_line(tmp_path: Path) -> None:
    """Nothing half-made stays, and nothing that is there is overwritten."""
    data, backups = tmp_path / "redis", tmp_path / "backups"
    data.mkdir()
    for answer, said in (
        (take(tmp_path, backups), "no append-only file"),
        (take(tmp_path, tmp_path, command="restore"), "no backup"),
    ):
        assert answer.returncode == 1
        assert said in answer.stderr
        assert answer.stderr.count("\n") == 1
    assert list(backups.iterdir()) == []
    (tmp_path / "old" / "appendonlydir").mkdir(parents=True)
    (data / "appendonlydir").mkdir()
    answer = take(tmp_path, tmp_path / "old", command="restore")
    assert (answer.returncode, "is there already" in answer.stderr) == (1, True)


def take(folder: Path, to: Path, *options: str, command: str = "take") -> "subprocess.CompletedProcess[str]":
    where = ["--spool", str(folder / "spool.db"), "--redis", str(folder / "redis"), "--audit", str(folder / "audit.db")]
    script = [sys.executable, str(ROOT / "deploy" / "backup.py"), command, str(to), *where, *options]
    return subprocess.run(script, capture_output=True, text=True, check=False)
