"""The first page: what arrives and what becomes of it, what waits, who is alive, and what `doctor` says."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from receiver.doctor import examine
from receiver.doctor.finding import Finding
from receiver.environment import SettingsError, load
from receiver.figures import Figures, read
from receiver.settings import ReceiverSettings
from receiver.tally import BUCKETS
from worker.console.chart import Chart, chart
from worker.console.page import page
from worker.status import TEN_MINUTES, counts

SHOWN = 36
"""Times of ten minutes in a chart: six hours."""
_AGAIN = 60.0
"""Seconds between two figures that latencies are counted from."""
_EXAMINED = 300.0
"""Seconds for which what `doctor` found is shown: it looks at disks, and at every dead letter."""
_WAIT_FOR_DOCTOR = 0.3
"""Seconds that a page waits for `doctor`; what it finds later is on the next page."""
_SERIES = (
    ("Accepted", "link", lambda words: words[0] == "accepted"),
    ("Handlers done", "good", lambda words: words[0] == "ended" and words[2] in {"done", "skipped"}),
    ("Tried again", "wait", lambda words: words[0] == "ended" and words[2] in {"failed", "asked"}),
    ("Dead letters", "bad", lambda words: words[0] == "dead"),
)


class Latency(NamedTuple):
    """Seconds within which half, and 95 of 100, were done; bounds of buckets, None where it is more than the last."""

    handler: str
    ended: int
    half: float | None
    most: float | None


class Remembered:
    """What the console remembers between two looks: figures of up to an hour ago, and what `doctor` found."""

    def __init__(self) -> None:
        self._figures: deque[tuple[float, Mapping[str, int]]] = deque()
        self._examined = 0.0
        self._examining: asyncio.Task[Sequence[Finding] | None] | None = None
        self._findings: Sequence[Finding] | None = None

    def latencies(self, figures: Figures) -> tuple[datetime | None, list[Latency]]:
        """From acceptance to a handler's end, since when; None for as long as anything was counted.

        That is since the oldest figures remembered; those of less than a minute ago would leave next to nothing.
        """
        is_old = bool(self._figures) and figures.now - self._figures[0][0] >= _AGAIN
        since, before = self._figures[0] if is_old else (None, {})
        if not self._figures or figures.now - self._figures[-1][0] >= _AGAIN:
            self._figures.append((figures.now, figures.metrics))
        while len(self._figures) > 1 and figures.now - self._figures[0][0] > 3600:  # noqa: PLR2004 - an hour
            self._figures.popleft()
        found = _latencies({name: count - before.get(name, 0) for name, count in figures.metrics.items()})
        return (datetime.fromtimestamp(since, tz=UTC) if since else None), found

    async def findings(self, redis: Any) -> Sequence[Finding] | None:
        """What `doctor` said last; None where this process has not the receiver's settings, or `doctor` still looks."""
        if self._examining is None and (not self._examined or time.monotonic() - self._examined > _EXAMINED):
            self._examining = asyncio.create_task(_examined(redis))
        if self._examining:
            await asyncio.wait([self._examining], timeout=_WAIT_FOR_DOCTOR)
        if self._examining and self._examining.done():
            self._findings, self._examined = self._examining.result(), time.monotonic()
            self._examining = None
        return self._findings

    @property
    def is_examining(self) -> bool:
        """Whether `doctor` still looks."""
        return self._examining is not None

    async def stop(self) -> None:
        """End what is under way, when the console ends."""
        if self._examining:
            self._examining.cancel()
            await asyncio.wait([self._examining])


async def _examined(redis: Any) -> Sequence[Finding] | None:
    try:
        return await examine(load(ReceiverSettings), redis)
    except SettingsError:
        return None


async def overview(request: Request) -> Response:
    """All of it; each number has its page."""
    state = request.state
    figures = await read(state.redis, state.keys)
    last = int(figures.now) // TEN_MINUTES
    counted = await counts(state.redis, state.keys, last - SHOWN + 1, last)
    since, latencies = state.remembered.latencies(figures)
    findings = await state.remembered.findings(state.redis)
    spools = {
        (one.told["host"], one.told["spool"]["path"]): one.told["spool"]
        for one in sorted(figures.alive("receiver"), key=lambda one: -one.age)
    }
    return await page(
        request,
        "overview.html",
        figures=figures,
        charts=charts(counted),
        since=since,
        latencies=latencies,
        processes=sorted(figures.processes, key=lambda one: (one.told["kind"], one.told["host"], one.age)),
        spooled=sum(spool["events"] for spool in spools.values()),
        trouble=[spool for spool in spools.values() if spool["unusable"] or spool["damaged"] or spool["set_aside"]],
        findings=None if findings is None else [one for one in findings if one.level != "ok"],
        looked=len(findings or ()),
        is_examining=state.remembered.is_examining,
    )


def charts(counted: Mapping[int, Mapping[bytes, bytes]]) -> list[Chart]:
    """A chart for each series, from the counts of each ten minutes."""
    split = {
        number: [(name.decode().split(" "), int(count)) for name, count in fields.items()]
        for number, fields in counted.items()
    }
    return [
        chart(
            name,
            kind,
            [
                (
                    datetime.fromtimestamp(number * TEN_MINUTES, tz=UTC),
                    sum(count for words, count in one if is_of(words)),
                )
                for number, one in split.items()
            ],
        )
        for name, kind, is_of in _SERIES
    ]


def _latencies(metrics: Mapping[str, int]) -> list[Latency]:
    rows: dict[str, dict[int, int]] = {}
    for field, count in metrics.items():
        word, _, rest = field.partition(" ")
        handler, _, bucket = rest.rpartition(" ")
        if word == "to_done" and bucket.isdecimal() and count > 0:
            rows.setdefault(handler, {})[int(bucket)] = count
    return [
        Latency(handler, sum(row.values()), _within(row, 0.5), _within(row, 0.95))
        for handler, row in sorted(rows.items())
    ]


def _within(row: Mapping[int, int], share: float) -> float | None:
    left = sum(row.values()) * share
    for bucket in sorted(row):
        left -= row[bucket]
        if left <= 0:
            return BUCKETS[bucket] if bucket < len(BUCKETS) else None
    return None
