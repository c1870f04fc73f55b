"""The systemd units, by systemd's own checks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.proxies import required
from tests.deploy.test_compose import SECRETS
from tests.deploy.valkey import secrets

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
