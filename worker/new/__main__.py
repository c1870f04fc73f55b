"""`python -m worker.new acme`, which `make new NAME=acme` runs: a package of one's own, and `.env` set to use it."""

import keyword
import os
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from receiver import command
from receiver.environment import SettingsError, load, read_env_file
from worker.settings import UpSettings

PAYLOAD_MAP = "payload.toml"
"""The file that says where Glartek's fields are in a payload."""
SHIPPED = Path(__file__).parent.parent.parent / "receiver" / "events" / PAYLOAD_MAP
_TEMPLATE = Path(__file__).parent / "acme"
_ENV = Path(".env")
_IGNORED = """\
# Real payloads may hold personal data: they stay on this machine. What you have redacted: git add --force
*
!.gitignore
"""

app = typer.Typer(add_completion=False)


@app.command()
def new(name: Annotated[str, typer.Argument(help="The package's name, such as acme.")]) -> None:
    """Lay out a package of your own in this folder, and set HANDLERS, PAYLOAD_MAP and WEBHOOK_TOKEN in `.env`."""
    folder = _folder(name)
    shutil.copytree(_TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("acme", name).replace("ACME", name.upper()), encoding="utf-8")
    (folder / "samples").mkdir()
    (folder / "samples" / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    wanted = {"HANDLERS": f"{name}:ROUTES"}
    if SHIPPED.exists():
        shutil.copy(SHIPPED, folder / PAYLOAD_MAP)
        wanted["PAYLOAD_MAP"] = f"{name}/{PAYLOAD_MAP}"
    typer.echo(f"{name}/ is yours: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    for line in _set(wanted | {"WEBHOOK_TOKEN": _token()}):
        typer.echo(line)
    typer.echo("Next: make run, and docs/first-handler.md")


def _folder(name: str) -> Path:
    """The folder to be made. Raises `SettingsError` when the name will not do."""
    if not re.fullmatch("[a-z][a-z0-9_]{1,29}", name) or keyword.iskeyword(name):
        raise SettingsError(f"NAME: expected a Python package's name such as acme (a-z, 0-9, _), got {name!r}")
    if name in sys.stdlib_module_names or Path(name).exists() or Path(f"{name}.py").exists():
        raise SettingsError(f"NAME: {name!r} is taken already; choose another")
    return Path(name)


def _token() -> str:
    """The token that `make run` has made here, which may be in Glartek's form already, or a fresh one."""
    kept = load(UpSettings).data_dir / "token"
    return kept.read_text(encoding="utf-8").strip() if kept.exists() else secrets.token_urlsafe(32)


def _set(wanted: dict[str, str]) -> list[str]:
    """Set these in `.env`, but for those that are set, and say of each what was done; a token is not shown."""
    present = read_env_file()
    lines = _ENV.read_text(encoding="utf-8").splitlines() if _ENV.exists() else []
    told = []
    for name, value in wanted.items():
        if name in present or (name == "WEBHOOK_TOKEN" and f"{name}_FILE" in present):
            other = "" if name == "WEBHOOK_TOKEN" or present[name] == value else f"; this package needs {name}={value}"
            told.append(f".env: {name} is set already, and stays{other}")
            continue
        line = f"{name}={value}"
        empty = [number for number, text in enumerate(lines) if re.fullmatch(rf"(export )?{name}=\s*", text)]
        lines = [*lines[: empty[-1]], line, *lines[empty[-1] + 1 :]] if empty else [*lines, line]
        told.append(f".env: {name}={value if name != 'WEBHOOK_TOKEN' else '(a secret of its own)'}")
    written = _ENV.with_name(".env.new")
    with os.fdopen(os.open(written, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))
    written.replace(_ENV)  # at once, because there are secrets in it
    return told


if __name__ == "__main__":
    command.run(app)
