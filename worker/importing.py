"""Imports what a setting names, `module:name`, and says in one line why that fails."""

import importlib
from types import ModuleType

from receiver.environment import SettingsError
from worker.error_text import describe
from worker.tracing import place, shown


def imported(spec: str, wanted: str) -> tuple[ModuleType, str]:
    """The module in `module:name`, and the name. Raises `SettingsError`, with what is `wanted` for another spec."""
    module_name, _, name = spec.partition(":")
    if not module_name or not name or module_name.startswith("."):
        raise SettingsError(f"{wanted}, got {spec!r}")
    try:
        return importlib.import_module(module_name), name
    except Exception as error:  # noqa: BLE001 - whatever the customer's module does when it is imported
        raise SettingsError(f"{wanted.partition(':')[0]}: {_import_failed(module_name, error)}") from None


def _import_failed(module: str, error: Exception) -> str:
    """Which line failed and what it lacks; the module itself may be what is not there."""
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        return (
            f"no module {module!r} here; set it to your own table, such as acme.handlers:ROUTES, "
            "and run from the folder that holds it"
        )
    if isinstance(error, SyntaxError) and error.filename:
        return f"{module!r} cannot be imported: {shown(error.filename)}:{error.lineno}: {error.msg}"
    if isinstance(error, ModuleNotFoundError):
        return f"{module!r} cannot be imported{at(error)}: no module {error.name!r}; install it, or mend the name"
    return f"{module!r} cannot be imported{at(error)}: {describe(error)}"


def at(error: Exception) -> str:
    """The line of the customer's own that failed, as the end of a sentence."""
    return f" at {where}" if (where := place(error)) else ""
