"""The literal table is checked at start: every mistake is a line with the way out."""

import functools
from typing import Any

import pytest

from receiver.environment import SettingsError
from worker import Context, Event, in_order
from worker.handler import name_of
from worker.routes import RouteTable


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
