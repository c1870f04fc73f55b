"""Which Redis commands the code calls, read from its Lua scripts and its modules."""

import re
from collections.abc import Iterator

from tests.conftest import ROOT

OF_ARQ = {"PSETEX", "ZCARD"}
"""What arq's `record_health` calls."""
_NAMES = {
    "delete": "DEL",
    "scan_iter": "SCAN",
    "zunion": "",  # the worker looks whether it is idle, in arq's burst mode only
}
_NO_COMMANDS = {"aclose", "close", "execute", "execute_command", "pipeline"}


def called(*folders: str) -> set[str]:
    """Every command that the scripts and modules of these folders call."""
    found = {name for text in _sources(folders, "*.lua") for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    for text in _sources(folders, "*.py"):
        found |= set(re.findall(r'execute_command\(\s*"([A-Z |]+)"', text))
        found |= set(re.findall(r"redis\.call\('(\w+)'", text))
        methods = re.findall(r"\b(?:_?redis|pipe|pool)\.([a-z_]+)\(", text)
        found |= {_NAMES.get(method, method.upper()) for method in methods if method not in _NO_COMMANDS}
    return {name.replace(" ", "|") for name in found if name} - {"CALL"}


def _sources(folders: tuple[str, ...], pattern: str) -> Iterator[str]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob(pattern)):
            yield path.read_text(encoding="utf-8")
