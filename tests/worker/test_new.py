"""`make new`: a package of the customer's own, which everything takes in, and which a newer kit leaves alone."""

import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.clones import clone, files_of, kit, make, newer, sh
from tests.conftest import Start

__all__ = ["clone", "kit"]


def python(folder: Path, *arguments: str) -> str:
    return sh(folder, sys.executable, *arguments)


def test_a_new_package_is_taken_in_by_all_that_there_is(clone: Path) -> None:
    """Format, lint, types and its own tests are green as laid out, the worker finds it, samples stay out of git."""
    make(clone, "new", "NAME=zeta_corp")
    (clone / "zeta_corp/samples/real.json").write_text("{}")
    assert "real.json" not in sh(clone, "git", "status", "--porcelain", "--untracked-files=all")
    own = [path.name for path in (clone / "zeta_corp").iterdir()]
    assert {"__init__.py", "handlers.py", "samples", "test_handlers.py"} <= set(own)
    ruff = str(Path(sys.executable).parent / "ruff")
    sh(clone, ruff, "format", "--check", "zeta_corp")
    sh(clone, ruff, "check", "zeta_corp")
    python(clone, "-m", "mypy", "zeta_corp")
    pytest_alone = str(Path(sys.executable).parent / "pytest")
    assert "6 passed" in sh(clone, pytest_alone, "zeta_corp")
    assert "zeta_corp/test_handlers.py: 6" in sh(clone, pytest_alone, "--collect-only", "-q", "--ignore=tests")
    names = "from worker import importing; print(*importing.load('zeta_corp:ROUTES').by_name)"
    assert python(clone, "-c", names).split() == ["handlers.page", "handlers.report"]


def test_env_is_set_and_what_is_set_in_it_stays(clone: Path) -> None:
    """Handlers and a fresh token, readable by this user only; an empty line is filled in, a value stays."""
    (clone / ".env").write_text("WEBHOOK_TOKEN=\nLOG_LEVEL=debug\n")
    said = make(clone, "new", "NAME=acme")
    first = dotenv_values(clone / ".env")
    assert (first["HANDLERS"], first["LOG_LEVEL"]) == ("acme:ROUTES", "debug")
    assert len(first["WEBHOOK_TOKEN"] or "") >= 43
    assert (first["WEBHOOK_TOKEN"] or "") not in said
    assert (clone / ".env").stat().st_mode & 0o777 == 0o600
    said = make(clone, "new", "NAME=other")
    assert dotenv_values(clone / ".env") == first
    assert "HANDLERS is set already, and stays; this package needs HANDLERS=other:ROUTES" in said


def test_the_token_that_make_run_has_made_is_kept(clone: Path) -> None:
    """Its URL may be in Glartek's form already."""
    (clone / ".data").mkdir()
    (clone / ".data/token").write_text("a-token-of-make-run-0123456789\n")
    make(clone, "new", "NAME=acme")
    assert dotenv_values(clone / ".env")["WEBHOOK_TOKEN"] == "a-token-of-make-run-0123456789"


@pytest.mark.parametrize("name", ["taken", "Acme", "json", "class", "a-b", "../x", ""])
def test_a_name_that_will_not_do_is_one_line(start: Start, tmp_path: Path, name: str) -> None:
    """Nothing is written."""
    (tmp_path / "taken").mkdir()
    refused = start("-m", "worker.new", name)
    assert refused.wait() == 2
    [line] = refused.output.splitlines()
    assert line.startswith("NAME: ")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["taken"]


def test_a_newer_kit_is_merged_without_a_conflict(kit: Path, clone: Path, tmp_path: Path) -> None:
    """A customer's package and settings stay as they are while everything else becomes the newer kit."""
    make(clone, "new", "NAME=acme")
    sh(clone, "git", "add", "acme")
    sh(clone, "git", "commit", "--quiet", "--message=our own")
    before = files_of(clone / "acme")
    make(clone, "update", f"FROM={newer(kit, tmp_path / 'newer')}")
    assert (clone / "worker/handler.py").read_text().endswith("# newer\n")
    assert files_of(clone / "acme") == before
    assert "6 passed" in python(clone, "-m", "pytest", "acme")
    assert "FROM is not set" in make(clone, "update", code=2)
