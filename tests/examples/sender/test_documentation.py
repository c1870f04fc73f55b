import asyncio
import re
import sys
from pathlib import Path

import pytest

from examples.sender import payload_map
from examples.sender.http.recording import RecordingReceiver
from examples.sender.play import webhooks
from tests.conftest import ROOT
from tests.examples.sender.conftest import Run

pytestmark = pytest.mark.anyio
SENDER = ROOT / "examples/sender"
PAGES = {file.stem: file.read_text(encoding="utf-8") for file in sorted((SENDER / "docs").glob("*.md"))}
COMMANDS = [
    (page, command, rest)
    for page, text in PAGES.items()
    for command, rest in re.findall(r"^\$ python -m examples\.sender (\S+)(.*)$", text, re.MULTILINE)
]


def example(page: str, language: str, number: int = 0) -> str:
    """A block of a page, as it stands there."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.MULTILINE | re.DOTALL)
    return blocks[number]


async def test_the_example_of_a_sender_s_own_tests_passes_as_it_is(tmp_path: Path) -> None:
    """The example is copied out of its page and run by pytest in a folder of its own."""
    (tmp_path / "test_my_sender.py").write_text(example("tests", "python"))
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


@pytest.mark.parametrize(("page", "command", "rest"), COMMANDS)
async def test_every_command_of_the_pages_exists(run: Run, page: str, command: str, rest: str) -> None:
    """Its name and each of its options are in the command's own help."""
    told = (await run(command, "--help")).out
    for option in re.findall(r"--[a-z-]+", rest):
        assert option in told, f"{page}: {option}"


async def test_every_command_has_its_page(run: Run) -> None:
    """What `--help` lists is shown on one of the pages, and the pages are all in the README."""
    listed = re.findall(r"^  ([a-z]+) {2,}", (await run("--help")).out, re.MULTILINE)
    assert set(listed) == {command for _, command, _ in COMMANDS}
    readme = (SENDER / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\(docs/(\w+)\.md\)", readme)) == sorted(PAGES)


async def test_the_scenario_of_its_page_is_one(run: Run, tmp_path: Path, recording_receiver: RecordingReceiver) -> None:
    """Copied out and sent as it stands, every answer and effect is as it expects."""
    (tmp_path / "acceptance.toml").write_text(example("scenario", "toml"))
    to = ("--to", recording_receiver.url, "--effects-cmd", "echo 1", "--effects-settle", "0.1")
    finished = await run("scenario", str(tmp_path / "acceptance.toml"), *to)
    assert finished.code == 0, finished.out
    assert [arrival.type for arrival in recording_receiver.of()] == [
        "work_order.created",
        *["work_order.completed"] * 3,
    ]


def test_the_files_of_the_pages_are_read(tmp_path: Path) -> None:
    """webhooks.toml and payload.toml, as they stand there, are what the sender takes."""
    (tmp_path / "webhooks.toml").write_text(example("send", "toml"))
    (tmp_path / "payload.toml").write_text(example("send", "toml", 1))
    assert webhooks.from_file(tmp_path / "webhooks.toml")[0].types == {"work_order.completed", "action.created"}
    assert payload_map.from_file(tmp_path / "payload.toml").id == ("eventGuid",)
