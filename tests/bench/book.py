"""What was measured: a list of values for each name, one for each round; and what may be computed from it."""

import statistics
from collections import defaultdict
from collections.abc import Sequence


class Book:
    """Values by name. Series of one measure are of equal length: their rounds were interleaved."""

    def __init__(self, series: dict[str, list[float]] | None = None) -> None:
        self.series: dict[str, list[float]] = defaultdict(list, series or {})

    def note(self, name: str, value: float) -> None:
        self.series[name].append(value)

    def values(self, name: str, against: str | None = None) -> list[float]:
        """The values of a series, or its ratios to another one, round by round; empty when something is missing."""
        values = self.series.get(name, [])
        if against is None:
            return list(values)
        return [one / other for one, other in zip(values, self.series.get(against, []), strict=False) if other]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def middle(values: Sequence[float]) -> float:
    return statistics.median(values)
