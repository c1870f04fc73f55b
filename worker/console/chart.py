"""Counts over time as bars: computes their places and sizes on the server."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

WIDTH, HEIGHT = 360, 90
"""Units of the drawing; it is as wide as its place on the page."""


class Bar(NamedTuple):
    """One bar: where it is, and what it says. The one that is still growing is `partial`."""

    x: float
    y: float
    width: float
    height: float
    title: str
    partial: bool


class Chart(NamedTuple):
    """`peak` is the value of the highest bar, `sum` that of all, `first` and `last` the times at both ends."""

    name: str
    kind: str
    bars: Sequence[Bar]
    peak: int
    sum: int
    first: datetime
    last: datetime


def chart(name: str, kind: str, counts: Sequence[tuple[datetime, int]]) -> Chart:
    """The bars of counts by the time at which each began, oldest first; the last one is not over yet."""
    peak = max((count for _, count in counts), default=0)
    width = WIDTH / max(len(counts), 1)
    bars = []
    for number, (at, count) in enumerate(counts):
        partial = number == len(counts) - 1
        height = 0.0 if not count else max(1.0, HEIGHT * count / peak)  # a count of one stays visible beside a million
        title = f"{at.astimezone():%H:%M}: {count}{' so far' if partial else ''}"
        bars.append(
            Bar(round(number * width, 2), round(HEIGHT - height, 2), round(width * 0.85, 2), height, title, partial)
        )
    return Chart(name, kind, bars, peak, sum(count for _, count in counts), counts[0][0], counts[-1][0])
