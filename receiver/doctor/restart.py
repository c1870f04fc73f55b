"""Finds settings that a server loses at a restart: set at run time, but not in its configuration file."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from receiver.doctor.finding import Finding

_DEFAULTS = {"appendonly": "no", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
"""The settings that decide whether a delivery survives, with the server's defaults."""


def advice(name: str, value: str, file: str | None) -> str:
    """How to set a value permanently; `file` is the server's configuration, "" for none, None if not known."""
    setting = f"CONFIG SET {name} {value}"
    if file == "":
        return f"{setting}, and start the server with --{name} {value} (it has no file to keep that in)"
    return f"{setting} and CONFIG REWRITE, or `{name} {value}` in {file or 'its file'}"


def check(url: str, config: Mapping[str, str], file: str | None) -> Finding:
    """Compare the running configuration with the configuration file, if this host can read it."""
    written = _written(url, file)
    if written is None:
        return Finding("restart", "ok", "what the server would do after a restart cannot be seen from here")
    forgotten = [name for name, default in _DEFAULTS.items() if written.get(name, default) != config.get(name)]
    if forgotten:
        set_now = ", ".join(f"{name} {config.get(name)}" for name in forgotten)
        seen = f"{set_now} is not in {file}: unless its command line has it, a restart forgets it"
        return Finding("restart", "warning", seen, "CONFIG REWRITE")
    return Finding("restart", "ok", f"{file} has what was set")


def _written(url: str, file: str | None) -> Mapping[str, str] | None:
    parts = urlsplit(url)
    if not file or not (parts.scheme == "unix" or parts.hostname in {"localhost", "127.0.0.1", "::1"}):
        return None
    with suppress(OSError, UnicodeError):
        lines = [line.split() for line in Path(file).read_text(encoding="utf-8").lower().splitlines()]
        return {words[0]: words[1].strip("\"'") for words in lines if len(words) == 2}  # noqa: PLR2004 - name, value
    return None
