"""The sender's rooms: who may import whom, and that none of it needs Redis."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HOUSE = ROOT / "examples/sender"
MODULES = sorted(str(file.relative_to(ROOT).with_suffix("")).replace("/", ".") for file in HOUSE.rglob("*.py"))
# A room imports those below it, and itself; what stands beside the rooms is at both ends.
ROOMS = ("commands", "profile", "check", "play", "http")
ALONE = {"terminal", "pages", "payload_map"}


def imports(file: Path) -> set[str]:
    """The rooms, or modules beside them, that a module imports."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "examples.sender":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("examples.sender."):
            found.add((node.module or "").split(".")[2])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    """Commands use everything, HTTP nothing but the terminal's words."""
    below = {*ROOMS[ROOMS.index(room) :], *ALONE}
    for file in (HOUSE / room).rglob("*.py"):
        assert imports(file) <= below, file.name


def test_nothing_in_it_needs_redis() -> None:
    """Every module is imported where neither Redis' client, nor arq, nor the worker can be."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(('redis', 'arq', 'worker', 'examples.ledger')))"
    script = f"{blocked}; import importlib; [importlib.import_module(m) for m in {MODULES!r} if 'fixtures' not in m]"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
