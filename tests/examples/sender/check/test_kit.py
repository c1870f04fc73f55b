import json
from pathlib import Path

import pytest

from tests.conftest import Start
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
EFFECTS = ("effect-once", "effect-once-at-once", "effect-of-every-event", "no-effect-of-what-it-refused")
WAITS = ["--effects-settle", "0.2", "--slow-body", "0.2", "--rate-seconds", "0.3", "--max-rate", "100"]


async def test_the_kit_passes_all_of_its_own_checks(run: Run, start: Start, valkey_url: str, tmp_path: Path) -> None:
    """Receiver and worker, as processes, on a real Valkey: no check fails and none is skipped for want of effects."""
    (tmp_path / "counting.py").write_text(HANDLERS)
    (tmp_path / "effects").mkdir()
    env = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "HANDLERS": "counting:ROUTES"}
    receiver, worker = start("-m", "receiver", **env), start("-m", "worker", **env)
    worker.wait_for("worker running")
    told = receiver.wait_for("receiver listening")
    address = next(json.loads(line)["address"] for line in told.splitlines() if "receiver listening" in line)
    kit = ("check", f"http://{address}/webhooks/glartek/{TOKEN}", "--json", *WAITS)
    finished = await run(
        *(*kit, "--effects-cmd", f"sh -c 'cat {tmp_path}/effects/{{id}} 2>/dev/null | wc -l'"),
        *("--slow-cmd", f"touch {tmp_path}/slow", "--restore-cmd", f"rm {tmp_path}/slow"),
    )
    found = {finding["check"]: (finding["status"], finding["seen"]) for finding in finished.json()["findings"]}
    assert {check: seen for check, seen in found.items() if seen[0] != "passed"} == {}
    assert finished.code == 0
    only = [word for name in EFFECTS for word in ("--only", name)]
    ledger = await run(*kit, *only, "--ledger", REDIS_URL=valkey_url)
    assert [finding["status"] for finding in ledger.json()["findings"]] == ["passed"] * len(EFFECTS), ledger.out
    nowhere = await run(*kit, *only, "--ledger", REDIS_URL="redis://127.0.0.1:9")
    assert {finding["status"] for finding in nowhere.json()["findings"]} == {"skipped"}
