"""The literal table is checked at start: every mistake is a line with the way out."""

import functools
from pathlib import Path
from typing import Any

import pytest

from receiver.environment import SettingsError
from worker import Context, Event, in_order
from worker.handler import name_of
from worker.routes import RouteTable, load


async def notify(event: Event, ctx: Context) -> None: ...


async def append(event: Event, ctx: Context) -> None: ...


def forgot_async(event: Event, ctx: Context) -> None: ...


class AsyncCallable:
    async def __call__(self, event: Event, ctx: Context) -> None: ...


def refused(routes: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        RouteTable(routes)
    return raised.value.lines


def test_an_event_goes_to_the_handlers_of_its_type_and_of_every_type() -> None:
    """Both lists, in the table's order, each handler once."""
    table = RouteTable({"action.created": [notify, append], "*": [append]})
    assert table.handlers("action.created") == [notify, append]
    assert table.handlers("action.solved") == [append]
    assert table.handlers("never heard of it") == [append]
    assert table.handlers("") == [append]


def test_a_handler_is_named_by_its_module_and_itself() -> None:
    """The name that outcomes, logs and commands use."""
    assert name_of(notify) == "test_routes.notify"
    assert list(RouteTable({"*": [notify]}).by_name) == ["test_routes.notify"]


def test_a_type_that_does_not_exist_is_named_with_the_nearest() -> None:
    """A slip of the pen is told what it may have meant."""
    [line] = refused({"work_order.complete": [notify]})
    assert "no event type 'work_order.complete'" in line
    assert "did you mean work_order.completed" in line


@pytest.mark.parametrize(
    "handler",
    [forgot_async, AsyncCallable(), AsyncCallable, "notify", None, 5, functools.partial(notify), print],
    ids=["function", "instance", "class", "text", "none", "number", "partial", "builtin"],
)
def test_what_is_no_coroutine_function_is_refused(handler: object) -> None:
    """Each is one line that says how to write it, whatever it is."""
    [line] = refused({"*": [handler]})
    assert line.startswith("HANDLERS: '*' has ")
    assert "async def handler(event, ctx)" in line


def test_in_order_makes_no_handler_of_what_is_none() -> None:
    """A function that forgot its `async` is refused inside of `in_order` too."""
    [line] = refused({"*": [in_order(forgot_async)]})  # type: ignore[arg-type]
    assert "async def handler(event, ctx)" in line


@pytest.mark.parametrize("handlers", [notify, "notify", None, {notify}, 5])
def test_what_is_no_list_is_refused(handlers: object) -> None:
    """A handler that is not in a list is the commonest mistake, and one line."""
    [line] = refused({"*": handlers})
    assert "'*' expected a list of handlers" in line


def test_two_handlers_of_one_name_are_refused() -> None:
    """Their outcomes could not be told apart."""

    async def renamed(event: Event, ctx: Context) -> None: ...

    renamed.__name__ = "notify"
    [line] = refused({"*": [notify, renamed]})
    assert "two handlers are named test_routes.notify" in line


def test_every_mistake_is_a_line() -> None:
    """One start shows them all."""
    assert len(refused({"action.made": [notify], "*": [forgot_async], "action.created": notify})) == 3


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


@pytest.mark.parametrize("text", ["def broken(", "from json import no_such_name", "{}['key']"])
def test_a_module_that_cannot_be_imported_is_a_line(module: Path, text: str) -> None:
    """A slip in the customer's module is named with its file and line."""
    module.write_text(f"import json\n{text}")
    [line] = load_refused(f"{module.stem}:ROUTES")
    assert f"cannot be imported{': ' if 'broken' in text else ' at '}{module}:2" in line


def test_an_attribute_that_is_no_table_is_refused_with_the_nearest(module: Path) -> None:
    """A wrong attribute is told what tables there are."""
    module.write_text("ROUTES = {}\nOTHER = []")
    assert "did you mean ROUTES" in load_refused(f"{module.stem}:ROUTE")[0]
    assert "expected a dict" in load_refused(f"{module.stem}:OTHER")[0]


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


def test_a_check_of_own_settings_that_fails_is_a_line(module: Path) -> None:
    """What `configure()` raises besides SettingsError, with its line."""
    module.write_text("def configure():\n    {}['key']\nasync def one(event, ctx): ...\nROUTES = {'*': [one]}\n")
    [line] = load_refused(f"{module.stem}:ROUTES")
    assert line == f"HANDLERS: configure() failed at {module}:2 in configure: KeyError: 'key'"


def test_a_handler_that_cannot_be_called_is_refused() -> None:
    """Its signature takes an event and a context, in whatever way."""

    async def one(event: Any) -> None: ...
    async def three(event: Any, ctx: Any, more: Any) -> None: ...
    async def keyword(*, event: Any, ctx: Any) -> None: ...
    async def defaults(event: Any, ctx: Any, more: Any = 1, *rest: Any, **others: Any) -> None: ...
    async def anything(*both: Any) -> None: ...

    lines = refused({"*": [one, three, keyword, in_order(one)]})  # type: ignore[arg-type]
    assert [line.partition(", which ")[2] for line in lines] == [
        f"takes {takes}; write it as: async def handler(event, ctx)"
        for takes in (
            "(event: Any) -> None",
            "(event: Any, ctx: Any, more: Any) -> None",
            "(*, event: Any, ctx: Any) -> None",
        )
    ]
    RouteTable({"*": [defaults, anything, in_order(notify)]})


def test_a_good_module_is_loaded(module: Path) -> None:
    """And its handlers are found by name."""
    module.write_text("async def one(event, ctx): ...\nROUTES = {'action.created': [one], '*': []}\n")
    assert list(load(f"{module.stem}:ROUTES").by_name) == [f"{module.stem}.one"]
