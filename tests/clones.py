"""A customer's clone of the kit as it is in this folder, with a `make` that installs nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT


def environment(home: Path) -> dict[str, str]:
    """Of a shell that has no setting of this machine."""
    who = {f"GIT_{role}_{what}": "t@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_GLOBAL": os.devnull, **who}


def sh(folder: Path, *command: str, code: int = 0) -> str:
    """What a command says that is run in a folder."""
    variables = environment(folder)
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def make(folder: Path, *arguments: str, code: int = 0) -> str:
    """`make` in a clone, with the virtual environment of these tests."""
    return sh(folder, "make", "--old-file=.venv/.installed", *arguments, code=code)


def commit(folder: Path, message: str) -> None:
    sh(folder, "git", "add", "--all")
    sh(folder, "git", "commit", "--quiet", f"--message={message}")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the kit as it is in this folder."""
    kit = tmp_path_factory.mktemp("kit")
    for name in sh(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (kit / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, kit / name)
    sh(kit, "git", "init", "--quiet", "--initial-branch=main")
    commit(kit, "the kit")
    return kit


@pytest.fixture
def clone(kit: Path, tmp_path: Path) -> Path:
    """A customer's clone of it."""
    return clone_of(kit, tmp_path / "clone")


def clone_of(kit: Path, folder: Path) -> Path:
    sh(kit, "git", "clone", "--quiet", str(kit), str(folder))
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def newer(kit: Path, folder: Path) -> Path:
    """A version of the kit with a change in some files."""
    clone_of(kit, folder)
    for name in ("README.md", "worker/handler.py", "pyproject.toml", "worker/new/acme/handlers.py", ".gitignore"):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("\n# newer\n")
    (folder / ".venv").unlink()
    commit(folder, "a newer kit")
    return folder


def files_of(package: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in _sources(package)}


def _sources(package: Path) -> Iterator[Path]:
    yield from package.rglob("*.py")
