"""Output: tables and progress on a terminal, plain columns in a pipe, one clear line for an error."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from receiver.events.redaction import SECRET
from receiver.visible import visible

_LONGEST = 10_000  # characters of a cell, or of a line with foreign text
_STYLES = {"ok": "green", "passed": "green", "delivered": "green", "failed": "bold red", "warning": "yellow"}
_UNITS = ((3600, "h"), (60, "min"))
_URL = re.compile(r"\bhttps?:/+[^\s'\"<>]*[^\s'\"<>:;,.)]", re.IGNORECASE)
_LEAST_SECRET = 8  # characters: a shorter word of a query or a header would be taken out of other words
_ANSWER = 200  # characters of an answer
_SECRET_LENGTH = 16  # a path segment this long may be a token: reports are shared, so it is shortened


class Refusal(Exception):
    """Wrong usage; the message is one line with what was expected and what to do. Exit code 2."""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on a terminal, aligned plain columns elsewhere; to stdout."""
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
    """Print one or more lines to stdout."""
    sys.stdout.write("\n".join(map(visible_line, text.split("\n"))) + "\n")


def visible_line(line: str) -> str:
    """A line that may contain foreign text, with unprintable characters escaped."""
    return line if line.isprintable() else visible(line, len(line))


def verdict(status: str, text: str) -> None:
    """Print a line that begins with a status to stdout; coloured and wrapped on a terminal."""
    if sys.stdout.isatty():
        beside = Table.grid(padding=(0, 1))
        beside.add_column(width=7)
        beside.add_row(Text(status, style=_STYLES.get(status, "")), Text(visible(text, _LONGEST)))
        Console().print(beside)
    else:
        say(f"{status:8} {text}")


def settings(used: Mapping[str, Any]) -> None:
    """Print the settings that a report is based on, in one line."""
    say("settings: " + "; ".join(f"{name.replace('_', ' ')} {setting(value)}" for name, value in used.items()))


def setting(value: Any) -> str:
    """The value of a setting as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_json(report: Any) -> None:
    """Print a report as JSON to stdout."""
    sys.stdout.write(_without_control(json.dumps(report, ensure_ascii=False, indent=2)) + "\n")


def json_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(_without_control(json.dumps(value, ensure_ascii=False, separators=(",", ":"))) + "\n")
    sys.stdout.flush()


def _without_control(text: str) -> str:
    """The same JSON with control characters in strings escaped, so that it is safe on a terminal."""
    return text if text.replace("\n", "").isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1]


def complain(line: str) -> None:
    """Print one line to stderr."""
    sys.stderr.write(visible_line(line) + "\n")


@contextmanager
def paused(bar: Progress) -> Iterator[None]:
    """Hide the progress bar while lines are printed to stdout, often the same terminal."""
    if bar.disable:
        yield
        return
    bar.stop()
    yield
    bar.start()


def progress(*extra: str, remaining: bool = True) -> Progress:
    """A progress bar on stderr, only on a terminal; `extra` has names of task fields to show.

    `remaining` shows the time left, estimated from equally long steps.
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
    """A duration in a suitable unit: `44 ms`, `1.3 s`, `5.0 min`, `2.0 h`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= 2 * size), (1, "s"))
    return f"{seconds / size:.1f} {unit}"


def without_secrets(url: str) -> str:
    """The URL for a report, with long path segments and the query shortened: they may hold the token."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not a valid URL, but it may hold the token
        return _shortened(url.partition("?")[0])
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, _shortened(parts.path), "…" if parts.query else "", ""))


def without_urls_secrets(text: str) -> str:
    """A text that may contain URLs from the user, with `without_secrets` applied to each."""
    return _URL.sub(lambda found: without_secrets(found[0]), text)


def answer(body: bytes, url: str, headers: Iterable[tuple[str, str]]) -> str:
    """The start of an answer to a request for a report: an error page may repeat the request's token and secrets."""
    text, parts = body.decode("utf-8", "replace"), urlsplit(url)
    given = [parts.query, parts.password or "", *(value for name, value in headers if SECRET.search(name))]
    words = [word for text in given for word in re.split(r"[\s=&;,]+", text) if len(word) >= _LEAST_SECRET]
    sent = words + [step for step in parts.path.split("/") if _is_long(step)]
    for secret in sorted({*sent, *map(unquote, sent)}, key=len, reverse=True):
        text = text.replace(secret, f"{secret[:4]}…")
    return visible(text, _ANSWER)


def _shortened(path: str) -> str:
    return "/".join(f"{step[:4]}…" if _is_long(step) else step for step in path.split("/"))


def _is_long(step: str) -> bool:
    """Whether a path segment may be a token; percent-encoding, even done twice, makes none of a short one."""
    return len(unquote(unquote(step))) >= _SECRET_LENGTH
