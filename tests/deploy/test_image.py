"""The image: what is in it, and what stays out."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.deploy.dockerfile import build, context, instructions

KIT = [package for package in ("receiver", "worker", "examples") if (ROOT / package).exists()]
SECRETS = (
    ".env",
    ".env.worker",
    "secrets/webhook_token",
    ".data/spool.db",
    "backups/1/spool.db",
    "acme/.env",
    "dump.rdb",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit as a customer has it: with a package and a module of their own, and with what must not get out."""
    tree = tmp_path_factory.mktemp("tree")
    for path in ("Dockerfile", ".dockerignore", "requirements.lock", "README.md", "Makefile", "pyproject.toml"):
        shutil.copy(ROOT / path, tree)
    for package in (*KIT, "deploy", "tests/deploy"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    own = ("acme/__init__.py", "acme/payload.toml", "acme/deep/card.json", "my_handlers.py", "my-notes/notes.txt")
    kept_out = (
        "acme/samples/real.json",
        "acme/test_handlers.py",
        "acme/conftest.py",
        "acme/__pycache__/x.pyc",
        "id_rsa",
    )
    for path in (*own, *kept_out, *SECRETS):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).touch()
    return tree


@pytest.fixture(scope="module")
def image(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in the image's /app, but for the environment and what was compiled."""
    app = build(tree, tmp_path_factory.mktemp("image"), wanted=lambda step: "pip " not in step)
    return {str(path.relative_to(app)) for path in app.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_the_image_holds_all_of_the_kit_and_the_customers_own(image: set[str]) -> None:
    """Every tracked file of the kit, and any other package or module of the top folder."""
    command = ["git", "ls-files", *KIT]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    own = {"acme/__init__.py", "acme/payload.toml", "acme/deep/card.json", "my_handlers.py"}
    present = {path for path in tracked if (ROOT / path).exists()}
    assert present | own <= image


def test_nothing_else_is_in_the_image(image: set[str]) -> None:
    """No tests, documents, deployment files, samples, and no file of the top folder that is no module."""
    tops = {path.partition("/")[0] for path in image}
    assert tops == {*KIT, "acme", "my_handlers.py"}
    assert {path for path in image if path.startswith("acme/")} == {
        *("acme/__init__.py", "acme/payload.toml", "acme/deep/card.json")
    }


def test_no_secret_and_no_state_is_even_sent_to_docker(tree: Path) -> None:
    """What .dockerignore lets through holds neither."""
    assert not {
        path for path in context(tree) if path in SECRETS or path.startswith((".data", ".env", "tests/", "deploy/"))
    }
    assert "requirements.lock" in context(tree)


def test_the_dockerfile_has_no_fault_that_hadolint_knows() -> None:
    """Hadolint finds nothing."""
    if sys.platform != "linux":
        pytest.skip("hadolint is installed on Linux only")
    hadolint = Path(sys.executable).parent / "hadolint"
    answer = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def test_the_image_is_the_same_each_time_and_runs_as_nobody_special() -> None:
    """The base by digest, packages by hash, the user by number, so that a cluster can see that it is not root."""
    given = list(instructions())
    bases = [arguments for instruction, arguments in given if instruction == "FROM"]
    assert "@sha256:" in bases[0]
    assert all(base.startswith("base") for base in bases[1:])
    assert any("--require-hashes" in arguments for _, arguments in given)
    assert [arguments for instruction, arguments in given if instruction == "USER"] == ["1000:1000"]
