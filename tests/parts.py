"""The parts that can be deleted: examples/, its sender, each of its handlers. What else of the tests goes with them."""

import importlib
from pathlib import Path

from receiver.environment import EnvSettings

ROOT = Path(__file__).parent.parent
SENDER = "examples/sender"
TEAMS, AUDIT_LOG, EXTERNAL_SYSTEM = (f"examples/handlers/{name}" for name in ("teams", "audit_log", "external_system"))
HANDLERS = (TEAMS, AUDIT_LOG, EXTERNAL_SYSTEM)
NEEDS: dict[str, tuple[str, ...]] = {
    "tests/bench/test_bench.py": (SENDER,),
    "tests/deploy/test_backup.py": (AUDIT_LOG,),
    "tests/end_to_end/test_canaries.py": HANDLERS,
    "tests/end_to_end/test_fuzz.py": HANDLERS,
    "tests/end_to_end/test_hostile_text.py": (AUDIT_LOG, EXTERNAL_SYSTEM),
    "tests/end_to_end/test_their_payload.py": (TEAMS, EXTERNAL_SYSTEM),
    "tests/examples/handlers/test_cost.py": HANDLERS,
    "tests/examples/handlers/test_routes.py": HANDLERS,
    "tests/examples/handlers/test_secret_files.py": HANDLERS,
    "tests/examples/test_demo.py": (SENDER, *HANDLERS),
    "tests/faults": (AUDIT_LOG, EXTERNAL_SYSTEM),
}
"""Tests that use a part and are not deleted with it: they are collected only while it is there."""


def is_here(*parts: str) -> bool:
    """Whether none of these parts was deleted."""
    return all((ROOT / part).exists() for part in parts)


def without_their_part() -> list[str]:
    """The tests of `NEEDS` that cannot be run here, for pytest's `collect_ignore` in this folder."""
    return [path.removeprefix("tests/") for path, parts in NEEDS.items() if not is_here(*parts)]


def handler_settings() -> dict[str, type[EnvSettings]]:
    """The settings of each example handler that is here, by the name of its package."""
    found: dict[str, type[EnvSettings]] = {}
    for package in (Path(part).name for part in HANDLERS if is_here(part)):
        module = importlib.import_module(f"examples.handlers.{package}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, EnvSettings) and package in value.__module__:
                found[package] = value
    return found
