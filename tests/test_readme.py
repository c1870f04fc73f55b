"""README.md and .env.example say what the code does. `make docs` writes the parts that are made from the code."""

import re
import secrets
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver import events
from receiver.alerts.settings import AlertSettings
from receiver.environment import EnvSettings, load
from receiver.queue import permissions
from receiver.queue.keys import Keys
from receiver.settings import ReceiverSettings, Settings
from receiver.variables import variables
from tests import parts
from tests.commands import called
from worker import importing
from worker.console.settings import ConsoleSettings
from worker.settings import UpSettings, WorkerSettings

ROOT = Path(__file__).parent.parent
README, SETTINGS, ENV_EXAMPLE = ROOT / "README.md", ROOT / "docs" / "settings.md", ROOT / ".env.example"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STAND_INS = {
    "TEAMS_WEBHOOK_URL": "http://127.0.0.1:9000/workflows/demo/triggers/manual/paths/invoke?sig=demo",
    "EXTERNAL_URL": "http://127.0.0.1:9000",
}


def groups() -> dict[str, type[EnvSettings]]:
    handlers = {f"{name.replace('_', ' ').capitalize()} handler": one for name, one in parts.handler_settings().items()}
    return {
        "Receiver and worker": Settings,
        "Alerts": AlertSettings,
        "Receiver": ReceiverSettings,
        "Worker": WorkerSettings,
        "Console": ConsoleSettings,
        "`make run`": UpSettings,
        **handlers,
    }


def grouped() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """The settings of each part, each once."""
    seen: set[str] = set()
    for title, settings_class in groups().items():
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


def without_what_is_not_here(text: str) -> str:
    """The text without what it says of parts that were deleted.

    That is what stands between `<!-- part NAME -->` and `<!-- /part NAME -->`, or before the former on its line.
    """

    def kept(found: re.Match[str]) -> str:
        opening, names, inside, closing = found.groups()
        return f"{opening}{without_what_is_not_here(inside)}{closing}" if parts.is_here(*names.split()) else ""

    text = re.sub(
        r"^.+<!-- part (.+) -->\n", lambda row: row[0] if parts.is_here(row[1]) else "", text, flags=re.MULTILINE
    )
    return re.sub(r"^(<!-- part (.+?) -->\n)(.*?)(<!-- /part \2 -->\n)", kept, text, flags=re.DOTALL | re.MULTILINE)


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
        **({"the three example handlers": [f"+{name.lower()}" for name in handlers]} if handlers else {}),
        "`WAIT_REPLICAS`": [f"+{name.lower()}" for name in permissions.WITH_REPLICAS],
        "a database other than 0": ["+select"],
        "`doctor` and the memory limit, if you can": [f"+{name.lower()}" for name in permissions.NICE_TO_KNOW],
    }
    added = [f"| {what} | `{' '.join(rules)}` |".replace("config|get", "config\\|get") for what, rules in more.items()]
    return "\n".join(["```sh", " \\\n".join(lines), "```", "", "| for | add |", "|---|---|", *added, ""])


def made_from_code() -> dict[Path, str]:
    """The documents of which parts are made from the code, as they have to be."""
    pages = {path: without_what_is_not_here(path.read_text(encoding="utf-8")) for path in PAGES}
    readme = pages[README]
    for name, content in {"events": events_table(), "permissions": permissions_block()}.items():
        readme = with_section(readme, name, content)
    settings = with_section(pages[SETTINGS], "settings", settings_tables())
    return pages | {README: readme, SETTINGS: settings, ENV_EXAMPLE: env_example()}


def test_what_is_made_from_the_code_is_what_the_code_has() -> None:
    """Events and Redis permissions in README, every setting in docs/settings.md and .env.example."""
    for path, text in made_from_code().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run: make docs"


def test_every_default_as_it_is_written_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of .env.example whose # somebody takes away changes nothing."""
    given = {**STAND_INS, "REDIS_URL": "redis://127.0.0.1", "WEBHOOK_TOKEN": secrets.token_urlsafe()}
    for settings_class in groups().values():
        with monkeypatch.context() as environment:
            for name, default, _ in variables(settings_class):
                environment.setenv(name, given[name] if default == "required" else default)
            settings = load(settings_class)
        for name, field in settings_class.model_fields.items():
            if not field.is_required():
                assert getattr(settings, name) == field.get_default(call_default_factory=True), name


def test_the_handler_in_the_readme_is_one_that_the_worker_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's example of own handlers, saved as it stands, is a route table that the worker starts with."""
    example = README.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    (tmp_path / "my_handlers.py").write_text(example, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(importing.load("my_handlers:ROUTES").by_name) == ["my_handlers.call_the_team"]


def test_the_code_in_the_readme_is_green_in_make_check(tmp_path: Path) -> None:
    """As it stands, in the customer's own package."""
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    ruff = [str(Path(sys.executable).parent / "ruff"), "--config", str(ROOT / "pyproject.toml")]
    (tmp_path / "__init__.py").touch()
    for number, example in enumerate(examples):
        (tmp_path / f"example{number}.py").write_text(example, encoding="utf-8")
    assert examples
    for command in (("check",), ("format", "--check")):
        done = subprocess.run([*ruff, *command, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    try:
        documents = made_from_code()
    except ImportError as error:  # a handler was deleted, and the table still has it
        sys.exit(f"make docs: {error}; take what was deleted out of ROUTES first")
    for document, text in documents.items():
        if document.read_text(encoding="utf-8") != text:
            document.write_text(text, encoding="utf-8")
