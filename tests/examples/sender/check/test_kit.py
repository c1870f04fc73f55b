import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Start
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
TOKEN = "t0kenThatIsLongEnough4Checks"
HANDLERS = """
import asyncio
from pathlib import Path

async def count(event, ctx):
    if Path("slow").exists():
        await asyncio.sleep(3)
    with (Path("effects") / event.id).open("a") as file:
        file.write("effect\\n")

ROUTES = {"work_order.created": [count]}
"""
WAITS = [
    "--effects-settle",
    "0.2",
    "--slow-body",
    "0.2",
    "--rate-seconds",
    "0.3",
    "--max-rate",
    "100",
    "--idle",
    "0.5",
    "--json",
]


@pytest.fixture
def kit(start: Start, valkey_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of receiver and worker, as processes; `sh restart` kills the receiver and starts it again."""
    (tmp_path / "counting.py").write_text(HANDLERS)
    (tmp_path / "effects").mkdir()
    env = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "HANDLERS": "counting:ROUTES"}
    receiver, worker = start("-m", "receiver", **env), start("-m", "worker", **env)
    worker.wait_for("worker running")
    told = receiver.wait_for("receiver listening")
    address = next(json.loads(line)["address"] for line in told.splitlines() if "receiver listening" in line)
    again = env | {"PORT": address.rpartition(":")[2], "PYTHONPATH": str(ROOT)}
    variables = " ".join(shlex.quote(f"{name}={value}") for name, value in again.items())
    (tmp_path / "pid").write_text(str(receiver.pid))
    (tmp_path / "restart").write_text(
        f"cd {tmp_path} && kill -9 $(cat pid)\n"
        f"env {variables} {sys.executable} -m receiver >again.log 2>&1 &\n"
        "echo $! >pid\n"
    )
    yield f"http://{address}/webhooks/glartek/{TOKEN}"
    if receiver.has_ended():
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


async def test_the_kit_passes_all_of_its_own_checks(run: Run, kit: str, valkey_url: str, tmp_path: Path) -> None:
    """Receiver and worker on a real Valkey, the receiver killed under load: no check fails and none is skipped."""
    finished = await run(
        *("check", kit, *WAITS),
        *("--effects-cmd", f"sh -c 'cat {tmp_path}/effects/{{id}} 2>/dev/null | wc -l'"),
        *("--slow-cmd", f"touch {tmp_path}/slow", "--restore-cmd", f"rm {tmp_path}/slow"),
        *("--restart-cmd", f"sh {tmp_path}/restart"),
    )
    found = {finding["check"]: (finding["status"], finding["seen"]) for finding in finished.json()["findings"]}
    assert {check: seen for check, seen in found.items() if seen[0] != "passed"} == {}
    assert finished.code == 0
    ledger = ("check", kit, *WAITS, "--ledger", "--only", "effect-of-every-event")
    assert [finding["status"] for finding in (await run(*ledger, REDIS_URL=valkey_url)).json()["findings"]] == [
        "passed"
    ]
    nowhere = (await run(*ledger, REDIS_URL="redis://127.0.0.1:9")).json()["findings"]
    assert [finding["status"] for finding in nowhere] == ["skipped"]
