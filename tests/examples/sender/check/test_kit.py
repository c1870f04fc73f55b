import json
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
TOKEN = "t0kenThatIsLongEnough4Checks"
HANDLERS = """
from pathlib import Path

async def count(event, ctx):
    with (Path("effects") / event.id).open("a") as file:
        file.write("effect\\n")

ROUTES = {"work_order.created": [count]}
"""


async def test_the_kit_passes_all_of_its_own_checks(run: Run, start: Start, valkey_url: str, tmp_path: Path) -> None:
    """Receiver and worker, as processes, on a real Valkey: no check fails and none is skipped for want of effects."""
    (tmp_path / "counting.py").write_text(HANDLERS)
    (tmp_path / "effects").mkdir()
    env = {"REDIS_URL": valkey_url, "WEBHOOK_TOKEN": TOKEN, "PORT": "0", "HANDLERS": "counting:ROUTES"}
    receiver, worker = start("-m", "receiver", **env), start("-m", "worker", **env)
    worker.wait_for("worker running")
    told = receiver.wait_for("receiver listening")
    address = next(json.loads(line)["address"] for line in told.splitlines() if "receiver listening" in line)
    finished = await run(
        *("check", f"http://{address}/webhooks/glartek/{TOKEN}", "--json"),
        *("--effects-cmd", f"sh -c 'cat {tmp_path}/effects/{{id}} 2>/dev/null | wc -l'"),
        *(
            "--slow-cmd",
            "true",
            "--slow-body",
            "0.5",
            "--effects-settle",
            "0.3",
            "--rate-seconds",
            "0.5",
            "--max-rate",
            "100",
        ),
    )
    found = {finding["check"]: (finding["status"], finding["seen"]) for finding in finished.json()["findings"]}
    assert {check: seen for check, seen in found.items() if seen[0] != "passed"} == {}
    assert finished.code == 0
    effects = ("--only", "effect-once", "--only", "effect-once-at-once", "--only", "effect-of-every-event", "--json")
    url, settle = f"http://{address}/webhooks/glartek/{TOKEN}", ("--effects-settle", "0.2")
    ledger = await run("check", url, *effects, *settle, "--ledger", REDIS_URL=valkey_url)
    assert [finding["status"] for finding in ledger.json()["findings"]] == ["passed"] * 3, ledger.out
    nowhere = await run("check", url, *effects, *settle, "--ledger", REDIS_URL="redis://127.0.0.1:9")
    assert {finding["status"] for finding in nowhere.json()["findings"]} == {"skipped"}
