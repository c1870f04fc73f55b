"""How the sender reacted to each kind of answer, and what that proves."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from examples.sender.http.arrivals import Arrival
from examples.sender.profile.sightings import Sighting
from examples.sender.terminal import span

GOOD = frozenset({"200", "201", "then 200"})
"""The answers that are a success for Glartek."""
_LAST = "cannot be told: it was given to no try but an event's last"
_OPEN = "cannot be told: the watch ended too soon after it"
_UNREAD = "cannot be told: the body had not come yet"


@dataclass(slots=True)
class Reaction:
    """The reaction to one kind of answer: how often it was given, and how often and when the event was repeated."""

    answer: str
    given: int = 0
    sent_again: int = 0
    gaps: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    """Seconds without another try, for requests that could have been repeated."""
    silent: str = ""
    """Why the missing repetitions prove nothing, if there is no proof at all."""

    @property
    def meaning(self) -> str:
        if self.sent_again:
            return "sent again: taken for a failure" if self.answer not in GOOD else "sent again: a duplicate"
        if not self.quiet:
            return self.silent or _OPEN
        least = min(self.quiet)
        return "not sent again" if math.isinf(least) else f"not sent again within {span(least)}"


@dataclass(frozen=True, slots=True)
class Watched:
    """The events of one sender, the answers given, and when the recording ended (monotonic seconds)."""

    seen: Sequence[Sighting]
    given: Mapping[int, str]
    until: float = math.inf

    def answer(self, arrival: Arrival) -> str:
        return self.given.get(arrival.number, "not answered")

    @property
    def most_tries(self) -> int:
        return max((len(sighting.arrivals) for sighting in self.seen), default=0)

    @property
    def gaps(self) -> list[float]:
        """Seconds between an answer and the next try, for every repetition."""
        return [gap(*pair) for sighting in self.seen for pair in itertools.pairwise(sighting.arrivals)]

    def is_over(self, arrival: Arrival) -> bool:
        """Whether the next try would have come by now: waits may double, so twice the longest one suffices."""
        return self.until - (arrival.ended or arrival.began) > 2 * max(self.gaps, default=0.0)


def gap(before: Arrival, after: Arrival) -> float:
    """Seconds from an answer to the next try."""
    return max(after.began - (before.ended or before.began), 0.0)


def reactions(watched: Watched, unread: Sequence[Arrival]) -> list[Reaction]:
    """One reaction for each kind of answer, in order of first use; `unread` are requests without their body."""
    found: dict[str, Reaction] = {}
    for arrival in unread:
        if arrival.number in watched.given:
            reaction = found.setdefault(watched.answer(arrival), Reaction(watched.answer(arrival)))
            reaction.given += 1
            reaction.silent = _UNREAD
    for sighting in watched.seen:
        for number, (arrival, after) in enumerate(itertools.zip_longest(sighting.arrivals, sighting.arrivals[1:]), 1):
            reaction = found.setdefault(watched.answer(arrival), Reaction(watched.answer(arrival)))
            reaction.given += 1
            if after:
                reaction.sent_again += 1
                reaction.gaps.append(round(gap(arrival, after), 3))
            elif reaction.answer not in GOOD and 1 < number == watched.most_tries:
                reaction.silent = _LAST  # the event had no tries left
            elif watched.is_over(arrival):
                reaction.quiet.append(watched.until - (arrival.ended or arrival.began))
            else:
                reaction.silent = _OPEN
    return sorted(found.values(), key=lambda reaction: reaction.answer == "then 200")  # "then 200" last


def tries(watched: Watched) -> str:
    """The most tries for an event, as far as observed."""
    most = watched.most_tries
    last = [one.arrivals[-1] for one in watched.seen if len(one.arrivals) == most]
    if not last:
        return "not seen"
    failed = [arrival for arrival in last if watched.answer(arrival) not in GOOD]
    if any(watched.is_over(arrival) for arrival in failed):
        return f"{most} for one event, then it gives up"
    if failed:
        return f"at least {most} for one event: the watch ended too soon to see more"
    return f"at least {most} for one event: it was answered with success then"
