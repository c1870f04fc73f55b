"""The pages for people name what there is: files, links, make targets, commands, and what is supported."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from receiver.doctor.redis_server import NEEDED_VERSION
from tests import parts
from tests.conftest import ROOT, Start

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/bench/*.md"))
    if path.name != "CHANGELOG.md"  # tells of what was
    and (path.parent == ROOT or parts.is_here(parts.SENDER) or "bench" not in path.parts)  # which the bench needs
}
FOLDERS = r"(?:receiver|worker|examples|tests|docs|deploy|\.ci)"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    """Paths from the top of the tree, scripts and modules by the end of their path."""
    text = PAGES[page]
    for path in re.findall(rf"(?<![\w/.-]){FOLDERS}/[\w./*-]*\w", text):
        assert list(ROOT.glob(path)), path
    for path in re.findall(r"`((?:[\w-]+/)*[a-z_]\w*\.(?:py|lua))`", text):
        assert path == "my_handlers.py" or _ends_with(path), path


def _ends_with(path: str) -> list[Path]:
    folders = ("receiver", "worker", "examples", "tests")
    return [*ROOT.glob(path), *(found for folder in folders for found in (ROOT / folder).rglob(path))]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    """To a file of the tree, and to a title in it."""
    here = (ROOT / page).parent
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", PAGES[page]):
        there = here / target if target else ROOT / page
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there.read_text(encoding="utf-8")), f"{target}#{anchor}"


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_of_a_page_exists(page: str) -> None:
    """And each target of the Makefile is in `make help`."""
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", PAGES[page])) <= TARGETS


def test_make_help_knows_every_target() -> None:
    """A target without its `##` would not be listed."""
    phony = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)[0].split()
    assert set(phony) == TARGETS == set(re.findall(r"^([a-z]+):.* ## \S", MAKEFILE, re.MULTILINE))


def commands() -> list[str]:
    """Every `python -m …` of the kit that a page names, up to its first argument that is no word of its own."""
    found: set[str] = set()
    for text in PAGES.values():
        for command in re.findall(rf"python -m ({FOLDERS}[.\w]*(?: [a-z](?:[a-z|-]*[a-z])?)*)", text):
            module, *rest = command.split()
            found |= {" ".join([module, *rest[:-1], last]) for last in (rest[-1].split("|") if rest else [""])}
    return sorted(command.strip() for command in found)


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_pages_exists(start: Start, command: str) -> None:
    """It answers --help with exit code 0."""
    process = start("-m", *command.split(), "--help")
    assert process.wait() == 0, process.output
    assert "Usage" in process.output


def test_what_is_supported_is_what_the_kit_is_checked_for() -> None:
    """README's oldest Python and Redis are those of the package, of its checks, of the image and of `doctor`."""
    python, redis = re.findall(r"^\| (?:Python|Redis) \| (\d+\.\d+)", PAGES["README.md"], re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["requires-python"] == f">={python}"
    assert project["tool"]["mypy"]["python_version"] == python
    assert project["tool"]["ruff"]["target-version"] == f"py{python.replace('.', '')}"
    assert f"sys.version_info < ({python.replace('.', ', ')})" in MAKEFILE
    assert f"FROM python:{python}-" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert redis == ".".join(map(str, NEEDED_VERSION))


def test_before_each_commit_runs_what_ci_runs() -> None:
    """pre-commit's one hook is `make check`, and CI runs it, too."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == ["make check"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "make check" in ci
    assert {line.split()[1] for line in ci if line.startswith("make ")} <= TARGETS
    assert all((ROOT / line).exists() for line in ci if line.startswith(".ci/"))


def test_the_changelog_has_each_heading_once() -> None:
    """Whoever adds a line finds the one place for it."""
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for release in releases:
        headings = re.findall(r"^### (\w+)$", release, re.MULTILINE)
        assert len(headings) == len(set(headings)), release.partition("\n")[0]
        assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
