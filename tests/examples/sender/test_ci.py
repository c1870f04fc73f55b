"""The action and the job that check a receiver in somebody's CI: valid by their schemas, and their scripts run."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.examples.sender.check.flawed import good
from tests.examples.sender.check.serving import serving

pytestmark = pytest.mark.anyio
CI = ROOT / "examples/sender/ci"
ARGUMENTS = "--only keep-alive --only lean-answer --effects-cmd 'echo 1'"


def loaded(name: str) -> Any:
    return YAML(typ="safe").load(CI / name)


@pytest.mark.parametrize(
    ("schema", "name"), [("vendor.github-actions", "action.yml"), ("vendor.gitlab-ci", "gitlab.yml")]
)
def test_it_is_valid_by_its_schema(schema: str, name: str) -> None:
    """As GitHub's and GitLab's own JSON schemas have it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(CI / name)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def scripts() -> dict[str, tuple[str, dict[str, str]]]:
    """What each of them runs, and the variables that it has then."""
    (check,) = [step for step in loaded("action.yml")["runs"]["steps"] if step.get("name") == "Check the receiver"]
    lines = loaded("gitlab.yml")["check-webhook-receiver"]["script"]
    return {
        "action": (check["run"], {"GITHUB_ACTION_PATH": str(CI)}),
        "gitlab": ("\n".join(lines).replace("/kit", str(ROOT)), {}),
    }


@pytest.mark.parametrize("name", ["action", "gitlab"])
async def test_its_script_checks_a_receiver(name: str, tmp_path: Path) -> None:
    """Run by bash as the CI would: the arguments arrive as words, both reports are written, the exit code counts."""
    script, variables = scripts()[name]
    environment = os.environ | variables | {"REPORT": "out", "ARGUMENTS": ARGUMENTS}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    async with serving(good) as url:
        environment |= {"URL": url, "RECEIVER_URL": url}
        process = await asyncio.create_subprocess_exec(
            *("bash", "-e", "-c", script), env=environment, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out.decode()
    assert "2 passed" in out.decode()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["report.html", "report.xml"]
