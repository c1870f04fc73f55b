"""`GET /metrics`: the whole system in one scrape, by Prometheus' conventions for names, units and labels.

Every label's values have a bound: types are the catalog's and `other`, handlers the table's, reasons and sources and
statuses come from the code and the settings. A Redis that is away leaves `glartek_redis_up 0` and the build.
"""

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import NamedTuple, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import receiver
from receiver import events
from receiver.figures import Figures, Process
from receiver.tally import BUCKETS
from worker.transitions import PARSE, Dying, Retrying

REFUSALS = (400, 401, 404, 405, 408, 411, 413, 431, 501, 503)
"""The answers that are not 200, as README.md has them."""


class Counted(NamedTuple):
    """A counter, or a gauge, whose samples are fields of `<p>metrics` that begin with the word `field`."""

    name: str
    about: str
    labels: tuple[str, ...]
    field: str


COUNTERS = (
    Counted("requests_refused", "Requests that were answered with another status than 200.", ("status",), "refused"),
    Counted("events_spooled", "Events that a receiver stored on its disk first.", (), "spooled"),
    Counted("dead_letters", "Dead letters written.", ("handler", "reason"), "dead"),
    Counted("log_lines_dropped", "Log lines that could not be written.", ("process",), "log_lines_dropped"),
)
ACCEPTANCES = (
    Counted("events_accepted", "Events stored, each once.", ("type",), "accepted"),
    Counted("events_duplicate", "Deliveries of an event that was stored already.", ("type", "source"), "duplicates"),
    Counted("events_conflict", "Deliveries with a key that was taken by other bytes.", ("type", "source"), "conflicts"),
)
"""Their sums are those of `<p>counts`, which older versions count, too."""
OUTCOMES = Counted("handler_outcomes", "Handlers that ended.", ("handler", "outcome", "type"), "ended")
RETRIES = Counted("handler_retries", "Runs that come again, and why.", ("handler", "reason", "type"), "ended")
HISTOGRAMS = (
    Counted("accept_to_start_seconds", "From the acceptance of an event to its first run.", (), "to_start"),
    Counted("accept_to_done_seconds", "From the acceptance of an event to a handler's end.", ("handler",), "to_done"),
    Counted("handler_run_seconds", "One run of a handler.", ("handler",), "run"),
)
SPOOL = {
    "events": ("spool_events", "Events that wait in a spool."),
    "oldest": ("spool_oldest_seconds", "How long the oldest event in a spool has waited there."),
    "bytes": ("spool_bytes", "Bytes of a spool's file and its log."),
    "set_aside": ("spool_set_aside", "Events that could not be stored in Redis: `receiver spool list`."),
    "damaged": ("spool_damaged_files", "Damaged spool files, whose events are not handled."),
    "unusable": ("spool_unusable", "1 while a spool cannot be used."),
}
"""What a receiver says of its spool (`oldest` as a Unix time), and the gauge that shows it."""


def render(figures: Figures | None) -> bytes:
    """The scrape, in Prometheus' text format; None for a Redis that is away."""
    registry = CollectorRegistry()
    registry.register(_Scrape(figures))
    return generate_latest(registry)


class _Scrape(Collector):
    def __init__(self, figures: Figures | None) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        yield _gauge("redis_up", "1 while Redis answers.", float(self._figures is not None))
        yield _build(self._figures)
        if self._figures is not None:
            for part in (_queue, _counters, _outcomes, _histograms, _spools, _last_events):
                yield from part(self._figures)

    def describe(self) -> Iterable[Metric]:  # registering asks for the names
        return self.collect()


def _build(figures: Figures | None) -> Metric:
    family = GaugeMetricFamily(
        "glartek_build_info", "Versions of the kit that run.", labels=("process", "version", "python")
    )
    here = platform.python_version()
    alive = [process.told for process in figures.processes if process.is_alive] if figures else []
    told = {(one["kind"], one["version"], one["python"]) for one in alive}
    for labels in sorted({*told, ("console", receiver.VERSION, here)}):
        family.add_metric(labels, 1)
    return family


def _queue(figures: Figures) -> Iterator[Metric]:
    yield _gauge("jobs_ready", "Jobs that are due and that nobody runs yet.", figures.ready)
    yield _gauge("jobs_oldest_ready_seconds", "How long the oldest of these has been due.", figures.oldest_ready)
    yield _gauge("jobs_waiting", "Jobs whose time has not come: retries.", figures.waiting)
    yield _gauge("jobs_running", "Jobs that workers hold.", figures.running)
    yield _gauge("dead_letters_kept", "Dead letters and conflicts that wait for somebody.", figures.dead)
    yield _gauge("receivers", "Receivers that are alive.", len(figures.alive("receiver")))
    yield _gauge("workers", "Workers that are alive.", len(figures.alive("worker")))
    if figures.memory:
        yield _gauge("redis_memory_used_bytes", "Memory that Redis uses.", figures.memory.used)
        yield _gauge("redis_memory_max_bytes", "Its limit; 0 for none.", figures.memory.most)


def _counters(figures: Figures) -> Iterator[Metric]:
    for counted in COUNTERS:
        values = _zeros(counted, figures) | dict(_samples(figures.metrics, counted))
        yield _counter(counted, values)
    for counted in ACCEPTANCES:
        values = _zeros(counted, figures) | dict(_samples(figures.metrics, counted))
        # Counted by a version that knows no labels, before this one or beside it.
        earlier = figures.counts.get(counted.field, 0) - sum(values.values())
        values[(events.OTHER,) * len(counted.labels)] += max(0, earlier)
        yield _counter(counted, values)


def _zeros(counted: Counted, figures: Figures) -> dict[tuple[str, ...], int]:
    """Samples that are there before anything is counted: Prometheus cannot see the step to a series' first value."""
    handlers = sorted(figures.handlers())
    sources = sorted({word for process in figures.alive("receiver") for word in process.told["sources"]})
    types = (*events.BY_NAME, events.OTHER)
    values: tuple[Iterable[str], ...]
    match counted:
        case Counted(field="accepted"):
            values = (types,)
        case Counted(field="duplicates" | "conflicts"):
            values = (types, {*sources, events.OTHER})
        case Counted(field="refused"):
            values = (map(str, REFUSALS),)
        case Counted(field="dead"):
            values = ((*handlers, PARSE), get_args(Dying))
        case Counted(name="handler_outcomes"):
            values = (handlers, ("done", "skipped", "dead"), types)
        case Counted(name="handler_retries"):
            values = (handlers, get_args(Retrying), types)
        case _:
            values = tuple(() for _ in counted.labels)
    return dict.fromkeys(product(*values), 0)


def _outcomes(figures: Figures) -> Iterator[Metric]:
    """`ended <handler> <state> <type>`: an end, or a retry."""
    ended = dict(_samples(figures.metrics, OUTCOMES))
    retries = {labels: value for labels, value in ended.items() if labels[1] in get_args(Retrying)}
    ends = {labels: value for labels, value in ended.items() if labels not in retries}
    yield _counter(OUTCOMES, _zeros(OUTCOMES, figures) | ends)
    yield _counter(RETRIES, _zeros(RETRIES, figures) | retries)


def _histograms(figures: Figures) -> Iterator[Metric]:
    for counted in HISTOGRAMS:
        rows: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
        for words, value in _samples(figures.metrics, counted, more=1):
            rows[words[:-1]][words[-1]] = value
        family = HistogramMetricFamily(f"glartek_{counted.name}", counted.about, labels=counted.labels)
        for labels, row in rows.items():
            family.add_metric(labels, _buckets(row), row.get("us", 0) / 1_000_000)
        yield family


def _buckets(row: Mapping[str, int]) -> list[tuple[str, float]]:
    """Upper bound and how many were at most that, for each bucket."""
    total, found = 0, []
    for place, bound in enumerate([*map(str, BUCKETS), "+Inf"]):
        total += row.get(str(place), 0)
        found.append((bound, float(total)))
    return found


def _spools(figures: Figures) -> Iterator[Metric]:
    """One for each file: the receivers of a host share it, and the latest of them is believed."""
    spools: dict[tuple[str, str], Process] = {}
    for process in sorted(figures.alive("receiver"), key=lambda one: one.age, reverse=True):
        spools[process.told["host"], process.told["spool"]["path"]] = process

    for field, (name, about) in SPOOL.items():
        family = GaugeMetricFamily(f"glartek_{name}", about, labels=("host", "path"))
        for labels, process in spools.items():
            value = process.told["spool"][field]
            family.add_metric(labels, max(0.0, figures.now - (value or figures.now)) if field == "oldest" else value)
        yield family


def _last_events(figures: Figures) -> Iterator[Metric]:
    counted = Counted("last_event_timestamp_seconds", "When an event arrived last (Unix time).", ("type",), "seen")
    family = GaugeMetricFamily(f"glartek_{counted.name}", counted.about, labels=counted.labels)
    for labels, value in _samples(figures.metrics, counted):
        family.add_metric(labels, value)
    yield family


def _samples(metrics: Mapping[str, int], counted: Counted, more: int = 0) -> Iterator[tuple[tuple[str, ...], int]]:
    """Labels and value of every field that belongs to it; `more` words follow its labels."""
    wanted = len(counted.labels) + more
    for field, value in metrics.items():
        word, *labels = field.split(" ", wanted)
        if word == counted.field and len(labels) == wanted:
            yield tuple(labels), value


def _counter(counted: Counted, values: Mapping[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(f"glartek_{counted.name}", counted.about, labels=counted.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"glartek_{name}", about, value=value)
