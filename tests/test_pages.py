"""The pages for a newcomer, followed step by step in a clone: every file is written, every command run as printed."""

import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clones import clone, environment, files_of, kit, newer, sh
from tests.conftest import ROOT
from tests.worker.test_up import free_port

__all__ = ["clone", "kit"]
pytestmark = pytest.mark.timeout(300)
BACKGROUND = ("make run", "examples.sender listen")
REAL = {
    "completed.json": (
        '{"webhookType":"Work Order Completed","tenant":{"id":77},"eventGuid":"3f0c2d3e-0000-4000-8000-000000000001",'
        '"triggeredAt":"2026-11-20 14:03:11","data":{"workOrderId":991,"workOrderName":"Pump 7 weekly","state":"Done",'
        '"assignedUsers":["ana@example.com"],"doneAt":"2026-11-20T14:03:10Z"}}'
    ),
    "created.json": (
        '{"webhookType":"Action Created","eventGuid":"3f0c2d3e-0000-4000-8000-000000000002",'
        '"data":{"actionId":"A-12","title":"Oil leak","prio":3,"openedBy":"rui@example.com"}}'
    ),
}
"""Two payloads as a customer may have them."""


class Newcomer:
    """Somebody who follows pages in a clone, in one shell and one more for what goes on running."""

    def __init__(self, clone: Path) -> None:
        self.folder = clone
        self.log = clone.parent / "running.log"
        self._running: list[subprocess.Popen[bytes]] = []
        tools = clone.parent / "bin"
        tools.mkdir()
        (tools / "make").write_text(
            f'#!/bin/sh\nPATH="${{PATH#{tools}:}}" exec make --old-file=.venv/.installed "$@"\n'
        )
        (tools / "make").chmod(0o755)
        self._environment = environment(clone.parent) | {"COLUMNS": "120"}
        self._environment["PATH"] = f"{tools}:{self._environment['PATH']}"

    def follow(self, page: str, **instead: str) -> None:
        """Do what a page of docs/ says; `instead` are words to put in the place of others."""
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
            if kind == "python":
                name, _, source = block.partition("\n")
                (self.folder / name.removeprefix("# ")).write_text(source, encoding="utf-8")
            elif kind == "text":
                self._see(block.splitlines(), lambda: self.log.read_text(encoding="utf-8"))
            else:
                for command, *said in _steps(block):
                    self._do(instead.get(command.partition(" ")[2].partition(" ")[0], command), said)

    def _do(self, command: str, said: list[str]) -> None:
        if any(word in command for word in BACKGROUND):
            with self.log.open("ab") as log:
                process = subprocess.Popen(
                    shlex.split(command), cwd=self.folder, env=self._environment, stdout=log, stderr=log
                )
            self._running.append(process)
            self._see(said, lambda: self.log.read_text(encoding="utf-8"))
        else:
            code = 1 if any(line.startswith("open: ") for line in said) else 0  # as `learn` ends with a question left
            self._see(said, lambda: self._run(command, code))

    def _run(self, command: str, code: int) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def _see(self, said: list[str], look: Callable[[], str]) -> None:
        """Look until all the lines are there: a handler may not have run yet."""
        deadline = time.monotonic() + 20
        while missing := _missing(said, seen := look()):
            assert time.monotonic() < deadline, f"expected {missing}\nin {seen}"
            time.sleep(0.1)

    def stop(self) -> None:
        for process in self._running:
            process.terminate()
            process.wait(20)


def _steps(block: str) -> Iterator[list[str]]:
    """Each command of a block with the lines that it prints."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        yield step.splitlines()


def _missing(said: list[str], seen: str) -> list[str]:
    """The lines that are not there; `…` stands for anything, and so do ports."""
    patterns = {line: re.escape(line).replace("…", ".*").replace("8000", r"\d+") for line in said if line}
    return [line for line, pattern in patterns.items() if not re.search(pattern, seen)]


@pytest.fixture
def newcomer(clone: Path) -> Iterator[Newcomer]:
    (clone / ".env").write_text(f"PORT={free_port()}\nCONSOLE_PORT={free_port()}\n")
    newcomer = Newcomer(clone)
    yield newcomer
    newcomer.stop()


def test_a_newcomer_gets_from_a_clone_to_a_newer_kit(newcomer: Newcomer, kit: Path, tmp_path: Path) -> None:
    """A package, a handler with its test and a real payload; all of it checked, and still green in a newer kit."""
    newcomer.follow("first-handler.md")
    for name, body in REAL.items():
        (newcomer.folder / "acme/samples" / name).write_text(body)
    newcomer.follow("your-payload.md")
    newcomer.follow("test-your-sender.md")
    for check in ("ruff format --check acme", "ruff check acme", "mypy acme"):
        sh(newcomer.folder, f".venv/bin/{check.split()[0]}", *check.split()[1:])
    own = files_of(newcomer.folder / "acme")
    newer_kit = newer(kit, tmp_path / "newer")
    newcomer.follow("upgrade.md", update=f"make update FROM={newer_kit}", test=".venv/bin/pytest acme")
    assert files_of(newcomer.folder / "acme") == own
    assert (newcomer.folder / "worker/handler.py").read_text(encoding="utf-8").endswith("# newer\n")


def test_every_page_is_linked_from_the_first_screen() -> None:
    """Of README: a newcomer does not scroll."""
    first = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:24])
    for page in ("first-handler", "your-payload", "test-your-sender", "upgrade", "deploy"):
        assert f"(docs/{page}.md)" in first, page
