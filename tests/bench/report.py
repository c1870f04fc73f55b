"""What a run found, as a table on a terminal, lines in a pipe, JSON in a file, and a section of the page."""

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from receiver.queue.valkey import server_binary
from tests.bench.book import Book, middle
from tests.bench.targets import ROWS, Row, python_rows, series_row

HEADINGS = ("measure", "median", "spread", "target", "reached")
_VERDICTS = {True: "yes", False: "no", None: ""}
Line = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Report:
    """The values of one run, and what has to be known to judge them."""

    book: Book
    setting: dict[str, str]

    @classmethod
    def of(cls, book: Book, setting: dict[str, str]) -> Self:
        return cls(book, {"taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", **machine(), **setting})

    def rows(self) -> list[Row]:
        """The rows that this run has values for."""
        return [row for row in ROWS if row.values(self.book)]

    def pythons(self) -> list[Row]:
        """One Python beside the other, where this run had another one."""
        other = self.setting.get("other Python")
        rows = python_rows(self.setting["Python"], other) if other else []
        return [row for row in rows if row.values(self.book)]

    def series(self) -> list[Row]:
        """Each series as a row of its own."""
        return [series_row(name) for name in sorted(self.book.series)]

    def as_dict(self) -> dict[str, Any]:
        return {
            "setting": self.setting,
            "rows": [self._row_as_dict(row) for row in (*self.rows(), *self.pythons())],
            "series": {name: [round(value, 4) for value in values] for name, values in self.book.series.items()},
        }

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Self:
        """A run of before, from its JSON."""
        return cls(Book(told["series"]), told["setting"])

    def _row_as_dict(self, row: Row) -> dict[str, Any]:
        values = row.values(self.book)
        return {
            "measure": row.title,
            "unit": row.unit,
            "median": round(middle(values), 4),
            "values": [round(value, 4) for value in values],
            "at_least": row.least,
            "under": row.most,
            "reached": row.reached(self.book),
        }


def lines(rows: list[Row], book: Book) -> Iterator[Line]:
    """Each row as words: title, median, spread over the rounds, target, whether it was reached."""
    for row in rows:
        values = row.values(book)
        spread = f"{row.shown(min(values))} to {row.shown(max(values))}" if len(values) > 1 else ""
        yield row.title, row.median(book), spread, row.target, _VERDICTS[row.reached(book)]


def show(report: Report, console: Console) -> None:
    """A table on a terminal; `measure: median; …` in a pipe."""
    tables = (
        ("what has to be reached", report.rows()),
        ("one Python beside another", report.pythons()),
        ("what was measured", report.series()),
    )
    for title, rows in tables:
        found = list(lines(rows, report.book))
        if not found:
            continue
        if not console.is_terminal:
            for measure, *rest in found:
                words = (f"{name} {value}" for name, value in zip(HEADINGS[1:], rest, strict=True) if value)
                console.print(f"{measure}: {'; '.join(words)}", soft_wrap=True, highlight=False, markup=False)
            continue
        used = HEADINGS if any(line[3] for line in found) else HEADINGS[:3]
        table = Table(*used, title=title)
        for line in found:
            style = {"no": "red", "yes": "green"}.get(line[4], "")
            table.add_row(*line[: len(used)], style=style)
        console.print(table)
    console.print("; ".join(f"{name} {value}" for name, value in report.setting.items()), soft_wrap=True, markup=False)


def markdown(report: Report) -> str:
    """The figures as they stand on the page."""
    parts = [_setting(report), ""]
    parts += _markdown_table(HEADINGS, list(lines(report.rows(), report.book)))
    parts += ["", "The series behind them (CPU is for each event):", ""]
    parts += _markdown_table(HEADINGS[:3], [line[:3] for line in lines(report.series(), report.book)])
    return "\n".join(parts) + "\n"


def python_markdown(report: Report) -> str:
    """What was found of another Python, and in which run: it may be an earlier one than that of the figures."""
    parts = [_setting(report), ""]
    parts += _markdown_table(HEADINGS[:3], [line[:3] for line in lines(report.pythons(), report.book)])
    return "\n".join(parts) + "\n"


def with_section(text: str, name: str, content: str) -> str:
    """The text with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{content}\n{found[2]}", text)


def write_page(report: Report, page: Path) -> None:
    """Write the figures; what was found of another Python stays until a run has one again."""
    text = with_section(page.read_text(encoding="utf-8"), "figures", markdown(report))
    if report.pythons():
        text = with_section(text, "pythons", python_markdown(report))
    page.write_text(text, encoding="utf-8")


def write_json(report: Report, path: Path) -> None:
    path.write_text(json.dumps(report.as_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def machine() -> dict[str, str]:
    """What was measured on; nothing that names the machine."""
    version = subprocess.run([server_binary(), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\S+)", version)
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "Python": platform.python_version(),
        "Valkey": found[1] if found else "unknown",
    }


def _setting(report: Report) -> str:
    return " · ".join(f"{name}: {value}" for name, value in report.setting.items())


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return found[1] if found else platform.machine()


def _markdown_table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (headings, ("---",) * len(headings), *rows)]
