import asyncio
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
README = (ROOT / "examples/sender/README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ python -m examples\.sender (\S+)(.*)$", README, re.MULTILINE)


async def test_the_example_of_a_sender_s_own_tests_passes_as_it_is(tmp_path: Path) -> None:
    """The example is copied out of the README and run by pytest in a folder of its own."""
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_my_sender.py").write_text(example)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["examples.sender.fixtures"]\n')
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)),
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out.decode()
    assert "3 passed" in out.decode()


@pytest.mark.parametrize(("command", "rest"), COMMANDS)
async def test_every_command_of_the_readme_exists(run: Run, command: str, rest: str) -> None:
    """Its name and each of its options are in the command's own help."""
    told = (await run(command, "--help")).out
    for option in re.findall(r"--[a-z-]+", rest):
        assert option in told, option
