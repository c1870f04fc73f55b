"""The tree as a template: imports point one way, and what is left without `examples/` is a whole kit."""

import ast
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOKEN, Start, wait_until
from tests.receiver.conftest import event, listening

MAY_IMPORT = {
    "receiver": {"receiver"},
    "worker": {"receiver", "worker"},
    "examples": {"receiver", "worker", "examples"},
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package: str) -> None:
    """`receiver` knows neither `worker` nor `examples`, `worker` knows no `examples`, and none of them the tests."""
    ours = {*MAY_IMPORT, "tests"}
    for path in (ROOT / package).rglob("*.py"):
        assert _imported(path) & ours <= MAY_IMPORT[package], path


def _imported(path: Path) -> set[str]:
    """The top-level packages that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names.add((node.module or "").partition(".")[0])
    return names


def test_without_the_examples_the_kit_is_whole(start: Start, valkey_url: str, tmp_path: Path) -> None:
    """A customer deletes `examples/`, points HANDLERS at a module of their own, and receives and handles events."""
    for package in ("receiver", "worker"):
        shutil.copytree(ROOT / package, tmp_path / package)
    (tmp_path / "my_handlers.py").write_text(
        "from pathlib import Path\n\n\n"
        "async def note(event, ctx):\n    Path('noted').write_text(event.id)\n\n\n"
        "ROUTES = {'action.created': [note]}\n"
    )
    common = {"REDIS_URL": valkey_url, "PYTHONPATH": "", "KEY_PREFIX": "template:"}
    worker = start("-m", "worker", **common, HANDLERS="my_handlers:ROUTES")
    receiver = listening(start("-m", "receiver", **common, WEBHOOK_TOKEN=TOKEN, PORT="0"))
    assert receiver.post(event("of a customer")).status == 200
    noted = tmp_path / "noted"
    wait_until(lambda: noted.exists() and noted.read_text() == "of a customer", explain=lambda: worker.output)
