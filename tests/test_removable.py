"""What one does not want can be deleted: without the sender, a handler, or all of examples/ a whole kit is left."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests import parts
from tests.conftest import ROOT, Start
from tests.receiver.conftest import event
from tests.worker.test_up import free_ports, started

A_FEW = (
    *("tests/test_house.py::test_every_contract_is_kept", "tests/test_readme.py", "tests/test_documents.py"),
    *("tests/test_packaging.py", "tests/deploy/test_compose.py", "tests/deploy/test_image.py"),
    *("tests/deploy/test_documentation.py", "tests/deploy/test_kubernetes.py", "tests/deploy/test_systemd.py"),
    "tests/worker/test_routes.py",
)
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Case:
    """What to delete, the handler to take out of the table, and one that is left and handles an Action."""

    deleted: tuple[str, ...]
    out_of_table: str = ""
    handles: str = "audit_log.append"


def without_handler(name: str, handles: str = "audit_log.append") -> Case:
    return Case((f"examples/handlers/{name}", f"tests/examples/handlers/{name}"), name, handles)


CASES = {
    "all of them": Case(("examples", "tests/examples"), handles="acme.note"),
    "the sender": Case(("examples/sender", "tests/examples/sender")),
    "the Teams handler": without_handler("teams"),
    "the audit log": without_handler("audit_log", handles="teams.notify"),
    "the external system": without_handler("external_system"),
}
HERE = {name: case for name, case in CASES.items() if parts.is_here(*case.deleted)}


def test_readme_says_how_to_delete_each() -> None:
    """Each case below is a line of README, with what to delete."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    for name, case in HERE.items():
        [line] = [line for line in lines if line.startswith(f"| {name} |")]
        assert f"`git rm -r {' '.join(case.deleted)}`" in line


def copied(tree: Path) -> None:
    """Copy what git has, or would have, of this tree."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def left(case: Case, tmp_path: Path) -> Path:
    """A copy of the tree from which a part was deleted as README says."""
    tree = tmp_path / "tree"
    copied(tree)
    if (ROOT / ".mypy_cache").exists():  # what mypy knows already: it reads the rest anew
        shutil.copytree(ROOT / ".mypy_cache", tree / ".mypy_cache")
    for path in case.deleted:
        shutil.rmtree(tree / path)
    if case.out_of_table:
        table = tree / "examples" / "handlers" / "__init__.py"
        table.write_text(_without(case.out_of_table, table.read_text(encoding="utf-8")), encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    subprocess.run(["git", "add", "--all", "--force", "."], cwd=tree, check=True)
    run(tree, "python", "-m", "tests.test_readme")  # make docs
    return tree


def _without(name: str, table: str) -> str:
    """The route table without a handler, as somebody would edit it."""
    table = re.sub(rf"^.*\b{name}\.\w+.*\n", "", table, flags=re.MULTILINE)
    return re.sub(rf", {name}\b|\b{name}, ", "", table)


def run(tree: Path, command: str, *arguments: str) -> None:
    """A command of the environment, which has to end well."""
    program = sys.executable if command == "python" else str(Path(sys.executable).with_name(command))
    ended = subprocess.run([program, *arguments], cwd=tree, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{command} {' '.join(arguments)}\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}"


@pytest.mark.skipif(not parts.is_here(parts.TEAMS), reason="the Teams handler is not here")
def test_what_is_still_in_the_table_is_told_in_a_line(tmp_path: Path) -> None:
    """`make docs` before the table is edited names what is missing, without a traceback."""
    copied(tmp_path)
    shutil.rmtree(tmp_path / parts.TEAMS)
    command = [sys.executable, "-m", "tests.test_readme"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert "'teams'" in line
    assert "ROUTES" in line


@pytest.mark.parametrize("name", HERE)
def test_what_is_left_is_whole(name: str, start: Start, tmp_path: Path) -> None:
    """Its code is checked, its tests are found, those that know the whole tree pass, it runs and handles an event."""
    tree = left(HERE[name], tmp_path)
    run(tree, "ruff", "format", "--check", ".")
    run(tree, "ruff", "check", ".")
    run(tree, "mypy", ".")
    run(tree, "python", "-m", "pytest", "-p", "no:cacheprovider", "--collect-only")
    run(tree, "python", "-m", "pytest", "-p", "no:cacheprovider", *A_FEW)
    runs_and_handles(tree, start, HERE[name].handles)


def runs_and_handles(tree: Path, start: Start, handles: str) -> None:
    """`worker.up`, which `make run` starts: without a table it says what to set, with one it handles an event."""
    settings = {"PYTHONPATH": str(tree), **free_ports(), "DATA_DIR": str(tree / ".data")}
    if not (tree / "examples").exists():
        lost = start("-m", "worker.up", **settings)
        assert lost.wait() == 2
        assert (
            "HANDLERS: no module 'examples.handlers' here; expected module:attribute, such as acme:ROUTES"
            in lost.output
        )
        assert "Traceback" not in lost.output
        settings |= {"HANDLERS": "acme:ROUTES"}
        (tree / "acme.py").write_text("async def note(event, ctx): ...\n\n\nROUTES = {'*': [note]}\n")
    kit = start("-m", "worker.up", **settings)
    answer = httpx2.post(started(kit), content=event("of a customer"))
    assert answer.status_code == 200, kit.output
    kit.wait_for(f'"handler": "{handles}", "attempt": 1, "outcome": "done"')
