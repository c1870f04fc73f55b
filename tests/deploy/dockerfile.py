"""The Dockerfile's steps in folders, without Docker: `python -m tests.deploy.dockerfile FOLDER` makes FOLDER/app.

Knows the instructions that the Dockerfile has. .dockerignore is read as Docker reads it, by Docker's own library.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from docker.utils.build import exclude_paths

ROOT = Path(__file__).parent.parent.parent
NEEDS_AN_IMAGE = ("useradd",)
"""Steps with one of these change the image's own system: not run here."""


def context(root: Path = ROOT) -> set[str]:
    """The files that Docker is given to build from."""
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    return {path for path in exclude_paths(str(root), patterns) if (root / path).is_file()}


def build(root: Path, to: Path, wanted: Callable[[str], bool] = lambda _: True) -> Path:
    """The last stage's /app, after every RUN that is `wanted`."""
    stages: dict[str, Path] = {}
    stage = to
    for instruction, arguments in instructions(root):
        match instruction:
            case "FROM":
                name = (re.findall(r" AS (\w+)", arguments) or ["last"])[0]
                stage = stages[name] = to / name
                (stage / "app").mkdir(parents=True)
                (stage / "source").mkdir()
            case "COPY":
                _copy(root, stages, stage, arguments)
            case "RUN" if wanted(arguments) and not any(word in arguments for word in NEEDS_AN_IMAGE):
                command = re.sub(r"(?<![\w.}])/(app|source)\b", rf"{stage}/\1", arguments)
                subprocess.run(["sh", "-euc", command], check=True, stdin=subprocess.DEVNULL)
    return stage / "app"


def instructions(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Each instruction and what it is given, continued lines joined."""
    text = (root / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    for line in filter(None, lines):
        instruction, _, arguments = line.partition(" ")
        yield instruction, arguments


def _copy(root: Path, stages: dict[str, Path], stage: Path, arguments: str) -> None:
    *options, source, target = arguments.split()
    if options:
        origin = stages[options[0].removeprefix("--from=")]
        shutil.copytree(origin / source.strip("/"), stage / target.strip("/"), symlinks=True, dirs_exist_ok=True)
        return
    for path in context(root):
        if source in {".", path}:
            (stage / target.strip("/") / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / path, stage / target.strip("/") / path)


if __name__ == "__main__":
    sys.stdout.write(f"{build(ROOT, Path(sys.argv[1]))}\n")
