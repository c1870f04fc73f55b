"""What a handler needs of the kit is in one place: `from worker import …`."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "examples" / "handlers"


def is_command(tree: ast.Module, path: Path) -> bool:
    """Whether a module is one to run, which shows what the kit itself shows."""
    return path.name == "__main__.py" or any(
        isinstance(node, ast.If) and "__main__" in ast.dump(node) for node in tree.body
    )


def handlers() -> list[str]:
    """The modules of the handlers, without their commands."""
    paths = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.rglob("*.py"))}
    return [str(path.relative_to(FOLDER)) for path, tree in paths.items() if not is_command(tree, path)]


@pytest.mark.parametrize("module", handlers())
def test_a_handler_imports_from_worker_alone(module: str) -> None:
    """Whoever copies it needs to know no other module of the kit."""
    for node in ast.walk(ast.parse((FOLDER / module).read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert [name for name in names if name.partition(".")[0] in {"receiver", "worker"} and name != "worker"] == []
