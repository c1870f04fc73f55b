"""What the user sees: tables and progress on a terminal, plain columns in a pipe, one clear line for a mistake."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from receiver.visible import visible

_LONGEST = 10_000  # characters of a cell, or of a line that is not all ours
_STYLES = {"ok": "green", "passed": "green", "delivered": "green", "failed": "bold red", "warning": "yellow"}
_UNITS = ((3600, "h"), (60, "min"))
_URL = re.compile(r"\bhttps?:/+[^\s'\"<>]*[^\s'\"<>:;,.)]", re.IGNORECASE)
_SECRET_LENGTH = 16  # a path segment this long is a token: reports are shared, so it is never shown whole


class Refusal(Exception):
    """Wrong usage: its message is one line that says what was expected and what to do. Exit code 2."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal, aligned plain columns elsewhere; on stdout."""
    cells = [[visible(str(cell), _LONGEST) for cell in row] for row in rows]
    if sys.stdout.isatty():
        drawn = Table(*columns, header_style="bold", expand=False)
        for row in cells:
            drawn.add_row(*(Text(cell, style=_STYLES.get(cell.split()[0] if cell else "", "")) for cell in row))
        Console().print(drawn)
        return
    widths = [max(len(line[column]) for line in [list(columns), *cells]) for column in range(len(columns))]
    for line in [list(columns), *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def say(text: str) -> None:
    """One line on stdout, or several."""
    sys.stdout.write("\n".join(map(visible_line, text.split("\n"))) + "\n")


def visible_line(line: str) -> str:
    """A line of ours that may hold text from outside: as it is when every character of it can be shown."""
    return line if line.isprintable() else visible(line, len(line))


def verdict(status: str, text: str) -> None:
    """One line on stdout that begins with a status, in its colour on a terminal, and wrapped beside it there."""
    if sys.stdout.isatty():
        beside = Table.grid(padding=(0, 1))
        beside.add_column(width=7)
        beside.add_row(Text(status, style=_STYLES.get(status, "")), Text(visible(text, _LONGEST)))
        Console().print(beside)
    else:
        say(f"{status:8} {text}")


def settings(used: Mapping[str, Any]) -> None:
    """One line that says with which settings a report came about: what Glartek does not document is one."""
    say("settings: " + "; ".join(f"{name.replace('_', ' ')} {setting(value)}" for name, value in used.items()))


def setting(value: Any) -> str:
    """The value of a setting in words."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_json(report: Any) -> None:
    """A report for programs: on stdout, and nothing else there."""
    sys.stdout.write(_without_control(json.dumps(report, ensure_ascii=False, indent=2)) + "\n")


def json_line(value: Any) -> None:
    """One value as one line of JSON."""
    sys.stdout.write(_without_control(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) + "\n")
    sys.stdout.flush()


def _without_control(text: str) -> str:
    """JSON whose strings have escapes where a terminal would obey: the same values, and safe to look at."""
    return text if text.replace("\n", "").isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1]


def complain(line: str) -> None:
    """One line on stderr."""
    sys.stderr.write(visible_line(line) + "\n")


@contextmanager
def paused(bar: Progress) -> Iterator[None]:
    """Make room for lines on stdout, which is often the same terminal."""
    if bar.disable:
        yield
        return
    bar.stop()
    yield
    bar.start()


def progress(*extra: str, remaining: bool = True) -> Progress:
    """A progress bar on stderr, for a terminal only; `extra` names task fields to be shown beside it.

    `remaining` is the time left if all steps take equally long.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *([TimeRemainingColumn()] if remaining else []),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in extra),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        redirect_stdout=False,  # stdout may be a pipe while stderr is a terminal
        transient=True,
    )


def span(seconds: float) -> str:
    """A time in the unit that suits it: `44 ms`, `1.3 s`, `5.0 min`, `2.0 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds / size:.1f} {unit}"


def without_secrets(url: str) -> str:
    """The URL for a report: long path segments and the query are shortened, for they hold the receiver's token."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not a URL after all, and it may hold the token nevertheless
        return _shortened(url.partition("?")[0])
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, _shortened(parts.path), "…" if parts.query else "", ""))


def without_urls_secrets(text: str) -> str:
    """A line that may repeat what the user wrote, with every URL in it as `without_secrets` shows it."""
    return _URL.sub(lambda found: without_secrets(found[0]), text)


def _shortened(path: str) -> str:
    return "/".join(f"{step[:4]}…" if len(step) >= _SECRET_LENGTH else step for step in path.split("/"))
