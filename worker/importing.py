"""Imports what HANDLERS names, `module:name`: the table of routes, with a look at its handlers' own settings.

Why that fails is one line.
"""

import importlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from receiver.environment import SettingsError
from receiver.nearest import nearest
from worker.error_text import describe
from worker.routes import RouteTable
from worker.tracing import place, shown


def load(spec: str) -> RouteTable:
    """The route table at `module:attribute`, its handlers' own settings checked.

    A handler's module may define `configure()`, called once here, which raises `SettingsError` for what it lacks.
    Raises `SettingsError` with one line for each mistake.
    """
    table = read(spec)
    configure(table)
    return table


def read(spec: str) -> RouteTable:
    """The same, without a look at the handlers' own settings."""
    module, attribute = imported(spec, "HANDLERS: expected module:attribute, such as acme:ROUTES")
    routes = getattr(module, attribute, None)
    if not isinstance(routes, Mapping):
        names = [
            name for name, value in vars(module).items() if isinstance(value, Mapping) and not name.startswith("_")
        ]
        raise SettingsError(
            f"HANDLERS: {module.__name__!r} has no table {attribute!r}, a dict from event type to a list of handlers"
            f"{nearest(attribute, names)}"
        )
    return RouteTable(routes)


def configure(table: RouteTable) -> None:
    """Let the modules of the handlers look at their own settings. Raises `SettingsError`."""
    modules = dict.fromkeys(handler.__module__ for handler in table.by_name.values())
    if lines := [line for module in modules for line in _wrong_with(module)]:
        raise SettingsError(*lines)


def _wrong_with(module: str) -> Sequence[str]:
    """What the module's own `configure()` finds wrong, if it has one."""
    check = getattr(sys.modules.get(module), "configure", lambda: None)
    if inspect.iscoroutinefunction(check):  # called, it would check nothing
        return [f"HANDLERS: {module}.configure is a coroutine function; write it as: def configure()"]
    try:
        check()
    except SettingsError as error:
        return error.lines
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the customer's own check raises
        return [f"HANDLERS: configure() failed{_at(error)}: {describe(error)}"]
    return []


def importable(table: RouteTable) -> Mapping[str, str]:
    """By handler the module to import it from, where that has it: for the tests that `dead save-test` writes."""
    return {
        name: handler.__module__
        for name, handler in table.by_name.items()
        if hasattr(sys.modules.get(handler.__module__), handler.__name__)
    }


def imported(spec: str, wanted: str) -> tuple[ModuleType, str]:
    """The module in `module:name`, and the name. Raises `SettingsError`, with what is `wanted` for another spec."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name or module_name.startswith("."):
        raise SettingsError(f"{wanted}, got {spec!r}")
    try:
        return importlib.import_module(module_name), name
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the customer's module does when it is imported
        raise SettingsError(f"{wanted.partition(':')[0]}: {_import_failed(module_name, error, wanted)}") from None


def _import_failed(module: str, error: BaseException, wanted: str) -> str:
    """Which line failed and what it lacks; the module itself may be what is not there, in place of what is `wanted`."""
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return f"no module {module!r} here; {wanted.partition(': ')[2]}, of a module in the folder that you run it from"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{module!r} cannot be imported: {shown(error.filename)}:{error.lineno}: {error.msg}"
    if isinstance(error, ModuleNotFoundError):
        return f"{module!r} cannot be imported{_at(error)}: no module {error.name!r}; install it, or mend the name"
    return f"{module!r} cannot be imported{_at(error)}: {describe(error)}"


def _at(error: BaseException) -> str:
    """` at <file:line in function>` for the customer's line that failed; "" if it was none of theirs."""
    return f" at {where}" if (where := place(error)) else ""
