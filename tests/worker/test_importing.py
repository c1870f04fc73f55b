"""What HANDLERS names is imported at start: every mistake is a line with the way out."""

from pathlib import Path

import pytest

from receiver.environment import SettingsError
from worker.importing import load


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a customer's module is, with a name that no other test uses."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / f"handlers_{abs(hash(tmp_path))}.py"


def load_refused(spec: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(spec)
    return raised.value.lines


@pytest.mark.parametrize("spec", ["", "handlers", "handlers:", ":ROUTES", ":"])
def test_a_spec_without_both_parts_is_refused(spec: str) -> None:
    """It says what HANDLERS looks like."""
    [line] = load_refused(spec)
    assert line.startswith("HANDLERS: expected module:attribute")


@pytest.mark.parametrize(
    "spec", ["no_such_module:ROUTES", "json.no_such:ROUTES", "json.decoder.x:ROUTES", ".x:R", "a..b:R"]
)
def test_a_module_that_is_not_there_is_refused(spec: str) -> None:
    """Every wrong module name is one line that repeats it."""
    [line] = load_refused(spec)
    assert line.startswith("HANDLERS: ")
    assert spec.partition(":")[0] in line


def test_a_module_that_needs_something_missing_says_what(module: Path) -> None:
    """The customer's own import that fails is not taken for a wrong name."""
    module.write_text("import not_installed_at_all")
    [line] = load_refused(f"{module.stem}:ROUTES")
    assert f"{module}:1 in <module>: no module 'not_installed_at_all'; install it" in line


@pytest.mark.parametrize("text", ["def broken(", "from json import no_such_name", "{}['key']", "raise SystemExit(0)"])
def test_a_module_that_cannot_be_imported_is_a_line(module: Path, text: str) -> None:
    """A slip in the customer's module is named with its file and line."""
    module.write_text(f"import json\n{text}")
    [line] = load_refused(f"{module.stem}:ROUTES")
    assert f"cannot be imported{': ' if 'broken' in text else ' at '}{module}:2" in line


def test_an_attribute_that_is_no_table_is_refused_with_the_nearest(module: Path) -> None:
    """A wrong attribute is told what tables there are."""
    module.write_text("ROUTES = {}\nOTHER = []")
    assert "did you mean ROUTES" in load_refused(f"{module.stem}:ROUTE")[0]
    assert "a dict from event type" in load_refused(f"{module.stem}:OTHER")[0]


def test_a_handlers_own_settings_are_checked_at_start(module: Path) -> None:
    """`configure()` of a handler's module is called once, and its mistakes are lines like any other."""
    module.write_text(
        "from worker import SettingsError\n"
        "async def one(event, ctx): ...\n"
        "async def two(event, ctx): ...\n"
        "def configure(): raise SettingsError('MY_URL: is not set', 'MY_KEY: is not set')\n"
        "ROUTES = {'*': [one, two]}\n"
    )
    assert load_refused(f"{module.stem}:ROUTES") == ("MY_URL: is not set", "MY_KEY: is not set")


@pytest.mark.parametrize(
    ("check", "said"), [("{}['key']", "KeyError: 'key'"), ("raise SystemExit('no URL')", "SystemExit: no URL")]
)
def test_a_check_of_own_settings_that_fails_is_a_line(module: Path, check: str, said: str) -> None:
    """What `configure()` raises besides SettingsError, with its line; an end of the process would be said by nobody."""
    module.write_text(f"def configure():\n    {check}\nasync def one(event, ctx): ...\nROUTES = {{'*': [one]}}\n")
    [line] = load_refused(f"{module.stem}:ROUTES")
    assert line == f"HANDLERS: configure() failed at {module}:2 in configure: {said}"


def test_a_check_of_own_settings_that_would_not_run_is_refused(module: Path) -> None:
    """Nobody awaits it: a worker that lacks a setting would start."""
    module.write_text("async def configure(): ...\nasync def one(event, ctx): ...\nROUTES = {'*': [one]}\n")
    [line] = load_refused(f"{module.stem}:ROUTES")
    assert line == f"HANDLERS: {module.stem}.configure is a coroutine function; write it as: def configure()"


def test_a_good_module_is_loaded(module: Path) -> None:
    """And its handlers are found by name."""
    module.write_text("async def one(event, ctx): ...\nROUTES = {'action.created': [one], '*': []}\n")
    assert list(load(f"{module.stem}:ROUTES").by_name) == [f"{module.stem}.one"]


def test_a_handler_of_no_module_is_taken(module: Path) -> None:
    """Made by exec or by a decorator of yours, it has no settings of its own to look at."""
    module.write_text("async def one(event, ctx): ...\none.__module__ = 'made.at.runtime'\nROUTES = {'*': [one]}\n")
    assert list(load(f"{module.stem}:ROUTES").by_name) == ["runtime.one"]
