"""Who may import whom: the contracts of pyproject.toml and of examples/, kept, and seen to be broken where they are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("receiver", "worker", "examples")
FILES = [
    file
    for file in ("pyproject.toml", "examples/contracts.toml", "examples/sender/contracts.toml")
    if (ROOT / file).exists()
]
WRONG = {
    "worker imports receiver, never the other way round": ("receiver/auth.py", "worker.event"),
    "neither imports the examples or the tests": ("worker/event.py", "tests.conftest"),
    "receiver.queue imports nothing of the kit outside of itself": ("receiver/queue/room.py", "receiver.visible"),
    "worker.lease imports receiver.queue alone": ("worker/lease/calls.py", "worker.retries"),
    "no circles": ("receiver/auth.py", "receiver.app"),
    "examples import worker and receiver, never the other way round": ("worker/event.py", "examples.sink"),
    "examples import no tests": ("examples/sink.py", "tests.conftest"),
    "no circles in the examples": ("examples/stand_ins/orders.py", "examples.stand_ins.sap"),
    "the sender imports no handler and nothing that needs Redis": ("examples/sender/pages.py", "receiver.intake"),
    "the sender's rooms: commands, profile, check, play, http, in this direction": (
        *("examples/sender/http/wire.py", "examples.sender.play.storm"),
    ),
}
"""For each contract a module, and an import in it that the contract forbids."""
TEXTS = "".join((ROOT / file).read_text(encoding="utf-8") for file in FILES)
HERE = [name for name in WRONG if f'name = "{name}"' in TEXTS]


def lint(folder: Path, *arguments: str) -> tuple[int, str]:
    """What import-linter says of the tree in a folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", *arguments, *FILES]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def test_every_contract_is_kept() -> None:
    """Imports point one way, the engine's rooms import no neighbour, and nothing goes in a circle."""
    code, said = lint(ROOT)
    assert code == 0, said
    assert all(f"{name} KEPT" in said for name in HERE), said


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and of their contracts."""
    tree = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        if (ROOT / package).exists():
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


@pytest.mark.parametrize("contract", HERE)
def test_a_wrong_import_breaks_its_contract(tree: Path, contract: str) -> None:
    """One line that does what the contract forbids is found, and named."""
    file, imported = WRONG[contract]
    text = (tree / file).read_text(encoding="utf-8")
    (tree / file).write_text(f"{text}\nimport {imported}\n", encoding="utf-8")
    code, said = lint(tree)
    (tree / file).write_text(text, encoding="utf-8")
    assert code == 1
    assert f"{contract} BROKEN" in said, said
