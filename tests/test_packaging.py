"""The files around the code: dependencies and lock files."""

import re
import tomllib
from pathlib import Path

import pytest

import receiver

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_files_pin_everything_and_name_no_registry(lock: str) -> None:
    """Every requirement is pinned with hashes, and no address of a registry is in the file."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "index-url" not in text
    requirements = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert all(re.match(r"^[a-z0-9.\[\]_-]+==", line) for line in requirements)
    assert text.count("--hash=sha256:") >= len(requirements)


def test_every_dependency_is_locked_and_says_why_it_is_there() -> None:
    """Each dependency in pyproject.toml has its reason beside it and its pin in the lock file."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    locked = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    extras = [one for extra in project["project"]["optional-dependencies"].values() for one in extra]
    for requirement in [*project["project"]["dependencies"], *extras, *project["dependency-groups"]["dev"]]:
        name = re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        assert f"\n{name.lower()}==" in f"\n{locked}", f"{name}: run make lock"
        assert re.search(rf'^    "{re.escape(requirement)}",\s+# \S', text, re.MULTILINE), f"{name}: why is it there?"


def test_the_version_is_said_once() -> None:
    """What a process says of itself is what pyproject.toml has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == receiver.VERSION
