"""The systemd units, by systemd's own checks."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOKEN, wait_until
from tests.deploy.proxies import required
from tests.deploy.test_compose import SECRETS
from tests.deploy.valkey import secrets
from tests.receiver.conftest import Sender, event, request

UNITS = ROOT / "deploy" / "systemd"
EXPOSURE = {"glartek-receiver": 1.5, "glartek-worker": 1.5, "glartek-console": 1.5, "glartek-backup": 2.0}
"""Of 10, by `systemd-analyze security`; a unit that says nothing of it has 9.6."""


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with this tree in the place of /opt/glartek."""
    for path in [*UNITS.glob("*.service"), *UNITS.glob("*.timer")]:
        text = path.read_text(encoding="utf-8").replace("/opt/glartek/.venv/bin/python", sys.executable)
        (tmp_path / path.name).write_text(text.replace("/opt/glartek", str(ROOT)))
    return tmp_path


def test_systemd_finds_no_fault_in_the_units(units: Path) -> None:
    """`systemd-analyze verify` says nothing."""
    required("systemd-analyze")
    answer = analyze("verify", *map(str, units.iterdir()))
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


@pytest.mark.parametrize("name", EXPOSURE)
def test_the_units_are_exposed_as_little_as_can_be(units: Path, name: str) -> None:
    """By `systemd-analyze security`: what is left is that they use the network, or read what belongs to others."""
    required("systemd-analyze")
    answer = analyze("security", "--offline=yes", "--no-pager", str(units / f"{name}.service"))
    [exposure] = re.findall(r"exposure level for \S+: ([\d.]+)", answer.stdout)
    assert float(exposure) <= EXPOSURE[name], answer.stdout


def test_who_tells_teams_may_reach_it() -> None:
    """Receiver and worker are given ALERTS_TEAMS_URL and may reach others; the console is not, and may not."""
    for path in UNITS.glob("*.service"):
        unit = path.read_text(encoding="utf-8")
        shut_in = bool(re.search(r"^(IPAddressDeny|PrivateNetwork)=(any|yes)$", unit, re.MULTILINE))
        assert shut_in != ("ALERTS_TEAMS_URL_FILE=" in unit), path.name


def test_its_users_can_be_made(tmp_path: Path) -> None:
    """By `systemd-sysusers`: one for each unit that names one."""
    required("systemd-sysusers")
    (tmp_path / "etc" / "sysusers.d").mkdir(parents=True)
    shutil.copy(UNITS / "glartek.sysusers.conf", tmp_path / "etc" / "sysusers.d" / "glartek.conf")
    command = ["systemd-sysusers", f"--root={tmp_path}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    made = re.findall(r"^(glartek-\w+):", (tmp_path / "etc" / "passwd").read_text(encoding="utf-8"), re.MULTILINE)
    units = "".join(path.read_text(encoding="utf-8") for path in UNITS.glob("*.service"))
    assert sorted(made) == sorted(re.findall(r"^User=(.+)$", units, re.MULTILINE))


def test_the_processes_make_no_system_call_that_their_units_refuse(valkey_url: str, tmp_path: Path) -> None:
    """While they start, take an event, handle it, and end: traced, and held to `SystemCallFilter=`."""
    required("systemd-analyze", "strace")
    (tmp_path / "h.py").write_text("async def note(event, ctx):\n    ctx.log.info('noted')\n\nROUTES = {'*': [note]}\n")
    settings = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "HANDLERS": "h:ROUTES", "LOG_FORMAT": "json"}
    settings |= {"SPOOL_PATH": str(tmp_path / "spool.db"), "PORT": "0", "CONSOLE_PORT": "0"}
    with ExitStack() as stack:
        logs = {
            name: stack.enter_context(traced(tmp_path, name, settings)) for name in ("receiver", "worker", "console")
        }
        port = told(logs["receiver"], r'"address": "[^"]*:(\d+)"')
        told(logs["console"], r"(console listening)")
        with Sender(int(port)) as sender:
            sender.send(request(event("one")))
            assert sender.answer().status == 200
        told(logs["worker"], r"(noted)")
    for name in logs:
        made = set(re.findall(r"^\d+ +(\w+)\(", (tmp_path / f"{name}.calls").read_text(), re.MULTILINE))
        assert len(made) > 40
        as_root = {"fchown"}  # SQLite, for root only, whom no unit runs these as
        assert made - allowed(name) - as_root == set()


@contextmanager
def traced(folder: Path, name: str, settings: dict[str, str]) -> Iterator[Path]:
    """A process of the kit under strace, and its log."""
    command = ["strace", "-f", "-qq", "-o", str(folder / f"{name}.calls"), sys.executable, "-m"]
    command += ["worker", "console"] if name == "console" else [name]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, process_group=0)
        try:
            yield folder / f"{name}.log"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            assert process.wait(20) in {0, -signal.SIGTERM}


def told(log: Path, pattern: str) -> str:
    """What a line of the log says, once it is there."""

    def found() -> list[str]:
        return re.findall(pattern, log.read_text(encoding="utf-8"))

    wait_until(found, 60, lambda: log.read_text(encoding="utf-8"))
    return found()[0]


def allowed(name: str) -> set[str]:
    """The system calls of the unit's filters, groups and what they hold resolved by systemd."""
    calls: set[str] = set()
    unit = (UNITS / f"glartek-{name}.service").read_text(encoding="utf-8")
    for removed, group in re.findall(r"^SystemCallFilter=(~?)(@[\w-]+)$", unit, re.MULTILINE):
        calls = calls - members(group) if removed else calls | members(group)
    return calls | {"execve", "exit", "exit_group", "rt_sigreturn", "brk", "mmap", "munmap"}  # always


@cache
def members(group: str) -> set[str]:
    lines = analyze("syscall-filter", group).stdout.splitlines()[1:]
    words = {line.strip() for line in lines if line.strip() and not line.strip().startswith("#")}
    return set().union(*(members(word) if word.startswith("@") else {word} for word in words))


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SECRETS)
def test_each_process_is_given_its_own_secrets(name: str, tmp_path: Path) -> None:
    """As credentials, each of which `deploy/secrets` makes and one of its settings takes."""
    unit = (UNITS / f"glartek-{name}.service").read_text(encoding="utf-8")
    credentials = dict(re.findall(r"^LoadCredential=(\w+):/etc/glartek/secrets/(\w+)$", unit, re.MULTILINE))
    assert all(credential == file for credential, file in credentials.items())
    assert set(credentials) <= {path.name for path in secrets(tmp_path / "secrets").iterdir()}
    assert dict(re.findall(r"(\w+)_FILE=%d/(\w+)", unit)) == {name: name.lower() for name in SECRETS[name]}
    assert set(credentials) == {name.lower() for name in SECRETS[name]}
