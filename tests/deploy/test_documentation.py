"""docs/operations.md explains what the kit logs."""

import re
from pathlib import Path

from tests.conftest import ROOT

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_warning_of_the_kit_is_explained() -> None:
    """What is logged as a warning or an error has its line in docs/operations.md, and each line there is logged."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in _modules())
    logged = set(re.findall(r"(?:log|bound)\.(?:warning|error|exception)\(\s*\"([^\"]+)\"", source))
    logged |= {text for pair in re.findall(r'log\.warning\("([^"]+)" if \w+ else "([^"]+)"', source) for text in pair}
    any_level = set(re.findall(r"(?:(?:log|bound)\.\w+|tell)\(\s*\"([^\"]+)\"", source))
    explained = set(re.findall(r"^\| `([^`]+)` \|", OPERATIONS, re.MULTILINE))
    assert logged <= explained <= logged | any_level, "docs/operations.md, What a line of the log means"


def _modules() -> list[Path]:
    return [path for folder in ("receiver", "worker", "examples/handlers") for path in (ROOT / folder).rglob("*.py")]
