"""Short runs of the harness: the kit passes, and a naive receiver fails. `make faults` runs this too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.faults


def faults(*arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the report of `python -m tests.faults`."""
    command = [sys.executable, "-m", "tests.faults", *arguments, "--json"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    return ended.returncode, json.loads(ended.stdout or "{}")


def test_the_kit_loses_nothing() -> None:
    """Under kills, a frozen Valkey, a full memory and an outage every promise holds."""
    code, report = faults("--seed", "1", "--seconds", "8")
    assert report["broken"] == [], report
    assert code == 0
    assert report["ledger"]["acknowledged"] == report["ledger"]["unique"] > 150


def test_a_naive_receiver_is_seen_to_lose() -> None:
    """The same faults on SET NX, `enqueue_job` and a stock worker: the report says what is lost, the exit code is 1."""
    for seed in "3456":  # by chance one run may lose nothing, but not all of them
        code, report = faults("--seed", seed, "--seconds", "8", "--naive")
        assert code == 1
        if report["ledger"]["lost"] > 0:
            return
    pytest.fail(f"nothing was lost: {report}")
