"""docs/deploy.md and docs/operations.md name what there is."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, Start

PAGES = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("deploy.md", "operations.md")}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page: str) -> None:
    """Every file of `deploy/`, every link, every anchor and every make target."""
    text = PAGES[page]
    for path in re.findall(r"(?<![\w/])deploy/[\w./-]*\w", text):
        assert (ROOT / path).exists() or list(ROOT.glob(path)), path
    for target, anchor in re.findall(r"\]\(([\w.]*)(#[\w-]+)?\)", text):
        there = PAGES[target] if target else text
        anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in _titles(there)}
        assert not anchor or anchor[1:] in anchors, anchor
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", text)) <= targets


def _titles(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def test_the_commands_of_the_pages_exist(start: Start) -> None:
    """Each `python -m …` answers --help."""
    found = {command for text in PAGES.values() for command in re.findall(r"python -m ((?:[a-z._]+ ?)+)", text)}
    for command in {command.strip() for command in found}:
        process = start("-m", *command.split(), "--help")
        assert process.wait() == 0, f"{command}: {process.output}"


def test_every_warning_of_the_kit_is_explained() -> None:
    """What is logged as a warning or an error has its line in docs/operations.md, and each line there is logged."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in _modules())
    logged = set(re.findall(r"log\.(?:warning|error)\(\s*\"([^\"]+)\"", source))
    logged |= {text for pair in re.findall(r'log\.warning\("([^"]+)" if \w+ else "([^"]+)"', source) for text in pair}
    explained = set(re.findall(r"^\| `([^`]+)` \|", PAGES["operations.md"], re.MULTILINE))
    assert logged == explained, "docs/operations.md, What a line of the log means"


def _modules() -> list[Path]:
    return [path for folder in ("receiver", "worker", "examples/handlers") for path in (ROOT / folder).rglob("*.py")]
