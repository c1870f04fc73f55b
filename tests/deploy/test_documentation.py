"""docs/operations.md explains what the kit logs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LEVELS = {"info", "warning", "error", "exception", "critical"}


def test_every_line_of_the_kit_is_explained() -> None:
    """What is logged is explained in docs/operations.md, a warning or more in a row of its own; each row is logged."""
    calls = [call for path in _modules() for call in _calls(ast.parse(path.read_text(encoding="utf-8")))]
    logged = {text for _, texts in calls for text in texts}
    rare = {text for level, texts in calls for text in texts if level != "info"}
    section = OPERATIONS.partition("## What a line of the log means\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([^`\n]+)`", section))
    rows = re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE)
    explained = {text for row in rows for text in re.findall("`([^`]+)`", row)}
    assert rare <= explained <= logged <= told, "docs/operations.md, What a line of the log means"


def _calls(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """By level, the texts of log lines: those that its method is given, or whatever is given that method to call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (level := next(filter(None, map(_level, [node.func, *node.args[:1]])), "")):
            texts = [
                one for arg in node.args for one in ([arg.body, arg.orelse] if isinstance(arg, ast.IfExp) else [arg])
            ]
            yield level, [one.value for one in texts if isinstance(one, ast.Constant) and isinstance(one.value, str)]


def _level(node: ast.expr) -> str:
    """Of `log.warning`, `structlog.get_logger().warning` and `tell`, which is one of two; Redis has an `info`, too."""
    if isinstance(node, ast.Attribute) and node.attr in LEVELS and "redis" not in ast.unparse(node.value):
        return node.attr
    return "warning" if isinstance(node, ast.Name) and node.id == "tell" else ""


def _modules() -> list[Path]:
    return [path for folder in ("receiver", "worker", "examples/handlers") for path in (ROOT / folder).rglob("*.py")]
