"""README.md and .env.example say what the code does. `make docs` writes the parts that are made from the code."""

import re
import runpy
import shlex
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.handlers.audit_log import AuditSettings
from examples.handlers.external_system import ExternalSettings
from examples.handlers.teams import TeamsSettings
from receiver import events
from receiver.environment import EnvSettings, variables
from receiver.queue import permissions
from receiver.queue.keys import Keys
from receiver.settings import ReceiverSettings, Settings
from tests.commands import called
from worker import routes
from worker.settings import WorkerSettings
from worker.up import UpSettings

ROOT = Path(__file__).parent.parent
README, SETTINGS, ENV_EXAMPLE = ROOT / "README.md", ROOT / "docs" / "settings.md", ROOT / ".env.example"
GROUPS: dict[str, type[EnvSettings]] = {
    "Receiver and worker": Settings,
    "Receiver": ReceiverSettings,
    "Worker": WorkerSettings,
    "`make run`": UpSettings,
    "Teams handler": TeamsSettings,
    "Audit log handler": AuditSettings,
    "External system handler": ExternalSettings,
}
STAND_INS = {
    "TEAMS_WEBHOOK_URL": "http://127.0.0.1:9000/workflows/demo/triggers/manual/paths/invoke?sig=demo",
    "EXTERNAL_URL": "http://127.0.0.1:9000",
}


def grouped() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The settings of each part, each once."""
    seen: set[str] = set()
    for title, settings_class in GROUPS.items():
        rows = [row for row in variables(settings_class) if row[0] not in seen]
        seen |= {row[0] for row in rows}
        yield title, rows


def settings_tables() -> str:
    lines = [""]
    for title, rows in grouped():
        lines += [f"**{title}**", "", "| variable | default | meaning |", "|---|---|---|"]
        for name, default, meaning in rows:
            shown = "**required**" if default == "required" else f"`{default}`" if default else ""
            lines.append(f"| `{name}` | {shown} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def events_table() -> str:
    rows = [f"| {event.title} | `{event.name}` | {event.trigger} |" for event in events.CATALOG]
    return "\n".join(["| title | name | triggered when |", "|---|---|---|", *rows, ""])


def env_example() -> str:
    lines = [
        "# Copy to .env and edit: every setting with its default. A line without # is one to set.",
        "# Variables of the environment win over this file. docs/settings.md says more.",
        "",
    ]
    for title, rows in grouped():
        lines.append(f"# --- {title.strip('`')} ---")
        for name, default, meaning in rows:
            lines.append(f"# {meaning}")
            if name in STAND_INS:
                lines.append(f"# (the stand-in of docker compose --profile demo: {STAND_INS[name]})")
            lines.append(f"{name}=" if default == "required" else f"#{name}={default}")
        lines.append("")
    return "\n".join(lines)


def with_section(text: str, name: str, content: str) -> str:
    """The text with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    before, _, rest = text.partition(f"<!-- {name} -->\n")
    _, _, after = rest.partition(f"<!-- /{name} -->")
    return f"{before}<!-- {name} -->\n{content}<!-- /{name} -->{after}"


def permissions_block() -> str:
    """The command that makes a Redis user for the kit, and what to add to it."""
    handlers = sorted(called("examples/handlers") - set(permissions.NEEDED) - {"SCRIPT"})
    rules = shlex.join(permissions.rules(Keys("glartek:").prefix))
    command = f"redis-cli ACL SETUSER glartek on '>A-LONG-PASSWORD' {rules}"
    lines = textwrap.wrap(command, 112, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    more = {
        "the three example handlers": [f"+{name.lower()}" for name in handlers],
        "`WAIT_REPLICAS`": [f"+{name.lower()}" for name in permissions.WITH_REPLICAS],
        "a database other than 0": ["+select"],
        "`doctor` and the memory limit, if you can": [f"+{name.lower()}" for name in permissions.NICE_TO_KNOW],
    }
    added = [f"| {what} | `{' '.join(rules)}` |".replace("config|get", "config\\|get") for what, rules in more.items()]
    return "\n".join(["```sh", " \\\n".join(lines), "```", "", "| for | add |", "|---|---|", *added, ""])


def made_from_code() -> dict[Path, str]:
    """The documents of which parts are made from the code, as they have to be."""
    readme = README.read_text(encoding="utf-8")
    for name, content in {"events": events_table(), "permissions": permissions_block()}.items():
        readme = with_section(readme, name, content)
    settings = with_section(SETTINGS.read_text(encoding="utf-8"), "settings", settings_tables())
    return {README: readme, SETTINGS: settings, ENV_EXAMPLE: env_example()}


def test_what_is_made_from_the_code_is_what_the_code_has() -> None:
    """Events and Redis permissions in README, every setting in docs/settings.md and .env.example."""
    for path, text in made_from_code().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run: make docs"


def commands() -> list[str]:
    """Every `python -m …` command that the README names, without its arguments' values."""
    found = re.findall(
        r"python -m ((?:receiver|worker|examples[.\w]*)(?: [a-z|]+)*)", README.read_text(encoding="utf-8")
    )
    words = {tuple(shlex.split(part)) for command in found for part in _alternatives(command)}
    return sorted(" ".join(command) for command in words)


def _alternatives(command: str) -> list[str]:
    module, *rest = command.split(" ")
    if not rest:
        return [module]
    return [" ".join([module, *rest[:-1], last]) for last in rest[-1].split("|")]


@pytest.mark.parametrize("command", commands())
def test_every_command_in_the_readme_exists(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that README names answers --help with exit code 0."""
    module, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--help"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, of a module that another test has imported
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not ended.value.code, capsys.readouterr().err
    assert "Usage" in capsys.readouterr().out


def test_every_make_target_in_the_readme_exists() -> None:
    """A `make` target that README names is one of the Makefile's."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", README.read_text(encoding="utf-8"))) <= targets


def test_the_handler_in_the_readme_is_one_that_the_worker_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's example of own handlers, saved as it stands, is a route table that the worker starts with."""
    example = README.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    (tmp_path / "my_handlers.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(routes.load("my_handlers:ROUTES").by_name) == ["my_handlers.call_the_team"]


if __name__ == "__main__":
    for document, text in made_from_code().items():
        document.write_text(text, encoding="utf-8")
