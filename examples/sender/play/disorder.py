"""Shuffles, duplicates, delays and drops events as configured; repeatable with a seed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from examples.sender.http.message import Message


@dataclass(frozen=True, slots=True)
class Due:
    """A message, and when to send it, in seconds from the start."""

    at: float
    message: Message


@dataclass(frozen=True, slots=True)
class Disorder:
    """The amount of disorder: shares from 0 to 1; `shuffle` is the number of neighbours that may change places."""

    duplicate: float = 0.0
    delay: float = 0.0
    drop: float = 0.0
    shuffle: int = 0
    late: float = 5.0
    """Most seconds by which an event is delayed, or a duplicate follows."""

    def of(self, schedule: Iterable[Due], rng: Random) -> tuple[list[Due], Counter[str]]:
        """The changed schedule in the order of sending, and the number of events by kind of change."""
        counts: Counter[str] = Counter()
        kept: list[Due] = []
        for due in self._shuffled(list(schedule), rng, counts):
            if rng.random() < self.drop:
                counts["dropped"] += 1
                continue
            delayed = rng.random() < self.delay
            counts["delayed"] += delayed
            kept.append(replace(due, at=due.at + rng.uniform(0, self.late)) if delayed else due)
            if rng.random() < self.duplicate:
                counts["duplicated"] += 1
                kept.append(replace(due, at=kept[-1].at + rng.uniform(0, self.late)))
        return sorted(kept, key=lambda due: due.at), counts

    def _shuffled(self, schedule: list[Due], rng: Random, counts: Counter[str]) -> list[Due]:
        """Shuffle messages within groups of neighbours; the times of sending stay."""
        size = self.shuffle + 1
        mixed: list[Due] = []
        for begin in range(0, len(schedule), size):
            group = schedule[begin : begin + size]
            messages = [due.message for due in group]
            rng.shuffle(messages)
            counts["shuffled"] += sum(due.message is not message for due, message in zip(group, messages, strict=True))
            mixed += [replace(due, message=message) for due, message in zip(group, messages, strict=True)]
        return mixed if self.shuffle else schedule
