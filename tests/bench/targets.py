"""What has to be reached: each row is measured in one run, and every ratio within one round of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.bench.book import Book, middle
from tests.bench.contenders import named_with

Unit = Literal["ratio", "per second", "ms", "%", "MB", "bytes", "µs", "ns", "MB/s"]
_FORMS: dict[Unit, Callable[[float], str]] = {
    "ratio": lambda value: f"{value:.2f}",
    "per second": lambda value: f"{value:,.0f}/s".replace(",", " "),
    "ms": lambda value: f"{value:.1f} ms",
    "%": lambda value: f"{value:.2f} %",
    "MB": lambda value: f"{value:.0f} MB",
    "bytes": lambda value: f"{value:.0f} B",
    "µs": lambda value: f"{value:.0f} µs",
    "ns": lambda value: f"{value:.0f} ns",
    "MB/s": lambda value: f"{value:.0f} MB/s",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a series, or its ratio `against` another one, and the `target` if there is one."""

    title: str
    of: str
    against: str | None = None
    unit: Unit = "ratio"
    least: float | None = None
    most: float | None = None

    def values(self, book: Book) -> list[float]:
        return book.values(self.of, self.against)

    def shown(self, value: float) -> str:
        return _FORMS[self.unit](value)

    def median(self, book: Book) -> str:
        """The median, with more digits in brackets where rounding makes a miss look like its target."""
        value = middle(self.values(book))
        shown = self.shown(value)
        is_hidden = self.reached(book) is False and self.target.endswith(f" {shown}")
        return f"{shown} ({value:.4g})" if is_hidden else shown

    @property
    def target(self) -> str:
        if self.least is not None:
            return f"at least {self.shown(self.least)}"
        return f"under {self.shown(self.most)}" if self.most is not None else ""

    def reached(self, book: Book) -> bool | None:
        """Whether the median is where it has to be; None without a target or a value."""
        values = self.values(book)
        if not values or (self.least is None and self.most is None):
            return None
        if self.least is not None:
            return middle(values) >= self.least
        return self.most is not None and middle(values) < self.most


ROWS = (
    Row("accepted and stored per second, against the bare endpoint (everysec)",
        "accepts/s · kit, everysec", "accepts/s · bare endpoint", least=0.70),
    Row("the same with appendfsync always", "accepts/s · kit, always", "accepts/s · bare endpoint", least=0.50),
    Row("against the textbook", "accepts/s · kit, everysec", "accepts/s · textbook", least=6),
    Row("against Fastify + BullMQ", "accepts/s · kit, everysec", "accepts/s · Fastify + BullMQ", least=1.2),
    Row("duplicates per second against unique events", "duplicates/s · kit, everysec", "accepts/s · kit, everysec",
        least=1.0),
    Row("p99 of the answer at 1 000/s, open loop", "answer p99 · kit, always", unit="ms", most=10),
    Row("the same against Fastify + BullMQ under the same load and fsync", "answer p99 · kit, always",
        "answer p99 · Fastify + BullMQ, always", most=1.0),
    Row("POST to handler started at 100/s, p50", "started p50 · kit, always", unit="ms", most=5),
    Row("POST to handler started at 100/s, p99", "started p99 · kit, always", unit="ms", most=20),
    Row("idle CPU of receiver and worker together", "idle CPU · kit, always", unit="%", most=1),
    Row("events through three handlers, one worker, against the textbook with one job for each handler",
        "handled/s · kit, everysec", "handled/s · textbook", least=5),
    Row("the same against the textbook tuned as far as arq's options go",
        "handled/s · kit, everysec", "handled/s · textbook, tuned"),
    Row("one trivial handler, one worker, against one BullMQ job",
        "handled/s · kit, one handler", "handled/s · Fastify + BullMQ, one handler", least=1.3),
    Row("three trivial handlers, one worker, against one BullMQ job that does the three",
        "handled/s · kit, everysec", "handled/s · Fastify + BullMQ", least=1.05),
    Row("CPU of the worker, one handler, against BullMQ's",
        "worker CPU · kit, one handler", "worker CPU · Fastify + BullMQ, one handler", most=1.0),
    Row("CPU of Valkey for one handler, against BullMQ's",
        "Redis CPU, handling · kit, one handler", "Redis CPU, handling · Fastify + BullMQ, one handler", most=1.0),
    Row("what level info adds to the worker's CPU, for each event", "log line CPU · kit", unit="µs", most=15),
    Row("CPU of counting an event for /metrics in the receiver, alone",
        "counting CPU · the receiver", unit="ns", most=1000),
    Row("the same in the worker, one handler", "counting CPU · the worker, one handler", unit="ns", most=1000),
    Row("events from POST to done that one Valkey can carry, two receivers and two workers",
        "carried/s · one Valkey", unit="per second"),
    Row("the same with two Valkeys, a receiver and a worker each, against one", "carried/s · two Valkeys",
        "carried/s · one Valkey", least=1.8),
    Row("two worker processes against one", "handled/s · kit, everysec, two workers", "handled/s · kit, everysec",
        least=1.7),
    Row("memory of the receiver at the end", "memory · receiver", unit="MB", most=100),
    Row("memory of the worker at the end", "memory · worker", unit="MB", most=100),
    Row("memory of the receiver at the end against half-way", "memory · receiver", "memory · receiver, half-way",
        most=1.05),
    Row("memory of the worker at the end against half-way", "memory · worker", "memory · worker, half-way", most=1.05),
    Row("Redis memory for each remembered key, outcomes of three handlers included", "memory · remembered key",
        unit="bytes", most=300),
    Row("Redis memory for each event that waits, three handlers", "Redis memory · an event that waits", unit="bytes"),
    Row("append-only file for each event accepted", "disk · an event accepted", unit="bytes"),
    Row("append-only file for each event handled, three handlers", "disk · an event handled", unit="bytes"),
    Row("accept rate with many keys remembered against empty", "accepts/s · many keys", "accepts/s · empty", least=0.9),
    Row("accept rate with many jobs queued against empty", "accepts/s · many jobs", "accepts/s · empty", least=0.9),
    Row("accept rate with three pages of the console open and live against none",
        "accepts/s · kit, console open", "accepts/s · kit, everysec", least=0.9),
    Row("events through three handlers with three pages open and live against none",
        "handled/s · kit, console open", "handled/s · kit, everysec", least=0.9),
    Row("CPU of Valkey for an acceptance with three pages open and live against none",
        "Redis CPU · kit, console open", "Redis CPU · kit, everysec", most=1.2),
    Row("CPU of a console with three pages open and live under full load, of a core", "console CPU · three pages open",
        unit="%", most=25),
    Row("the slowest page that opens by itself, 100 000 dead letters", "page · groups", unit="ms", most=1500),
    Row("1 MiB bodies, against the bare endpoint", "1 MiB bodies · kit, everysec", "1 MiB bodies · bare endpoint"),
    Row("memory of the receiver at its highest, 16 senders of 1 MiB bodies", "memory · receiver, 1 MiB bodies",
        unit="MB", most=200),
)  # fmt: skip

WITH_ANOTHER_PYTHON = (
    ("accepted and stored per second", "accepts/s · kit, everysec"),
    ("CPU of the receiver for each event", "receiver CPU · kit, everysec"),
    ("one trivial handler, one worker, per second", "handled/s · kit, one handler"),
    ("CPU of the worker for each event, one handler", "worker CPU · kit, one handler"),
)
"""What a run with another Python compares: a title, and the series that both have."""

UNITS: dict[str, Unit] = {
    "accepts/s": "per second",
    "duplicates/s": "per second",
    "handled/s": "per second",
    "receiver CPU": "µs",
    "Redis CPU": "µs",
    "worker CPU": "µs",
    "log line CPU": "µs",
    "counting CPU": "ns",
    "Redis CPU, POST to done": "µs",
    "carried/s": "per second",
    "Redis CPU, handling": "µs",
    "Redis memory": "bytes",
    "disk": "bytes",
    "answer p99": "ms",
    "started p50": "ms",
    "started p99": "ms",
    "idle CPU": "%",
    "memory": "MB",
    "console CPU": "%",
    "page": "ms",
    "1 MiB bodies": "MB/s",
}
"""The unit of a series, by the first part of its name; CPU is for each event."""


def series_row(name: str) -> Row:
    """A series as a line of its own."""
    unit: Unit = "bytes" if name == "memory · remembered key" else UNITS[name.partition(" · ")[0]]
    return Row(name, name, unit=unit)


def python_rows(this: str, other: str) -> list[Row]:
    """Each measure with this version of Python, with the other one, and the ratio of the other to this one."""
    rows = []
    for title, series in WITH_ANOTHER_PYTHON:
        unit, others = series_row(series).unit, named_with(series, other)
        rows += [
            Row(f"{title}, Python {this}", series, unit=unit),
            Row(f"{title}, Python {other}", others, unit=unit),
            Row(f"{title}, {other} against {this}", others, series),
        ]
    return rows
