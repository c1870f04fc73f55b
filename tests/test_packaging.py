"""The files around the code: compose, Dockerfile, lock files."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_compose_file_follows_the_compose_specification() -> None:
    """docker-compose.yml is valid by the Compose specification's own JSON schema."""
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    answer = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_compose_files_valkey_keeps_what_was_acknowledged() -> None:
    """Compose's Valkey writes every command to disk before it answers, never evicts, and keeps its data."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for promise in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction", "valkey:/data"):
        assert promise in compose


def test_the_dockerfile_copies_what_the_kit_needs_and_nothing_that_is_not_there() -> None:
    """Every path that the Dockerfile copies exists and is let through by .dockerignore."""
    copied = re.findall(r"^COPY (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_through = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(copied) == sorted(let_through) == ["examples", "receiver", "requirements.lock", "worker"]
    assert all((ROOT / path).exists() for path in copied)


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
    for requirement in [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]:
        name = re.split(r"[^A-Za-z0-9_-]", requirement)[0]
        assert f"\n{name.lower()}==" in f"\n{locked}", f"{name}: run make lock"
        assert re.search(rf'^    "{re.escape(requirement)}",\s+# \S', text, re.MULTILINE), f"{name}: why is it there?"
