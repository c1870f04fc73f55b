"""What a sender did, from its requests and the answers that they got."""

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from examples.sender.http.arrivals import Arrival
from examples.sender.profile.fields import event_type, out_of_order, type_path
from examples.sender.profile.script import RETRY_AFTER
from examples.sender.profile.sightings import MOVED, Sighting, leaves, sightings
from examples.sender.terminal import span
from receiver import events

_GOOD = {"200", "201", "then 200"}
# Headers that differ from request to request for reasons of HTTP, not of the event.
_PLUMBING = {"content-length", "host", "connection", "date"}


@dataclass(slots=True)
class Reaction:
    """What followed one way of answering: how often it was given, how often the event was sent again, and when."""

    answer: str
    given: int = 0
    sent_again: int = 0
    unread: int = 0
    """Given to requests whose body never came, so that nobody knows which event they were."""
    gaps: list[float] = field(default_factory=list)

    @property
    def meaning(self) -> str:
        if self.sent_again:
            return "sent again: taken for a failure" if self.answer not in _GOOD else "sent again: a duplicate"
        return "not sent again" if self.given > self.unread else "cannot be told: the body had not come yet"


@dataclass(frozen=True, slots=True)
class Try:
    """One request: when it began, in seconds from the first of all, for how long it was open, and its answer."""

    at: float
    seconds: float
    answer: str

    @property
    def good(self) -> bool:
        return self.answer in _GOOD


@dataclass(slots=True)
class Profile:
    """A sender's behaviour, as far as it was seen. Times in seconds."""

    requests: int
    events: int
    types: list[str]
    types_missing: list[str]
    types_unknown: list[str]
    reactions: list[Reaction]
    most_tries: int
    schedule: list[float]
    """The median wait before the second try, the third, …"""
    retry_after: str
    timeout: str
    redirects: str
    repeats: int
    """Requests that repeated an event."""
    byte_identical: int
    fields_changing: list[str]
    headers_changing: list[str]
    headers_constant: list[str]
    out_of_order: int | None
    """Events that came after one that had happened later; None when that cannot be told."""
    most_at_once: int
    connections: int
    content_types: dict[str, int]
    user_agents: list[str]
    http: dict[str, int]
    tls: list[str]
    endpoint: str
    malformed: int
    """Requests that are not HTTP; a URL with raw accents or spaces makes them so."""
    timeline: list[tuple[str, list[Try]]]
    """Every event's type and tries, in the order of arrival."""


def profile(arrivals: Sequence[Arrival], given: Mapping[int, str], path: str, malformed: int = 0) -> Profile:
    """The profile of the sender of these requests; `path` is the percent-encoded one that it was told to use."""
    whole = [arrival for arrival in arrivals if arrival.complete and not arrival.target.endswith(MOVED)]
    seen = sightings(whole)
    path_of_type = type_path(seen)
    types = list(dict.fromkeys(event_type(sighting, path_of_type) for sighting in seen))
    repeats = [pair for sighting in seen for pair in _pairs(sighting)]
    changing = _changed(repeats, lambda arrival: dict(arrival.headers)) - _PLUMBING
    names = {name for arrival in whole for name, _ in arrival.headers}
    reactions = _reactions(seen, [arrival for arrival in arrivals if not arrival.complete], given)
    return Profile(
        requests=len(arrivals),
        events=len(seen),
        types=[name for name in types if name in events.BY_NAME],
        types_missing=[name for name in events.BY_NAME if name not in types],
        types_unknown=[name for name in types if name not in events.BY_NAME],
        reactions=reactions,
        most_tries=max((len(sighting.arrivals) for sighting in seen), default=0),
        schedule=_schedule(seen),
        retry_after=_retry_after(reactions),
        timeout=_timeout(whole, given),
        redirects=_redirects(arrivals, given),
        repeats=len(repeats),
        byte_identical=sum(before.body == after.body for before, after in repeats),
        fields_changing=sorted(_changed(repeats, lambda arrival: leaves(arrival.body))),
        headers_changing=sorted(changing),
        headers_constant=sorted(names - changing - _PLUMBING) if repeats else [],
        out_of_order=out_of_order(seen),
        most_at_once=max((arrival.together for arrival in whole), default=0),
        connections=len({arrival.connection for arrival in arrivals}),
        content_types=dict(Counter(arrival.header("content-type") or "(none)" for arrival in whole)),
        user_agents=sorted({arrival.header("user-agent") or "(none)" for arrival in whole}),
        http=dict(Counter(f"{arrival.method} HTTP/{arrival.http_version}" for arrival in whole)),
        tls=sorted({arrival.tls for arrival in whole if arrival.tls}),
        endpoint=_endpoint({arrival.target for arrival in whole}, path),
        malformed=malformed,
        timeline=[(event_type(sighting, path_of_type), _tries(sighting, whole[0].began, given)) for sighting in seen],
    )


def _tries(sighting: Sighting, begin: float, given: Mapping[int, str]) -> list[Try]:
    return [
        Try(round(one.began - begin, 3), round((one.ended or one.began) - one.began, 3), _answer(one, given))
        for one in sighting.arrivals
    ]


def _answer(arrival: Arrival, given: Mapping[int, str]) -> str:
    return given.get(arrival.number, "not answered")


def _pairs(sighting: Sighting) -> Iterable[tuple[Arrival, Arrival]]:
    return itertools.pairwise(sighting.arrivals)


def _reactions(seen: Sequence[Sighting], unread: Sequence[Arrival], given: Mapping[int, str]) -> list[Reaction]:
    reactions: dict[str, Reaction] = {}
    for answer in (given[arrival.number] for arrival in unread if arrival.number in given):
        reaction = reactions.setdefault(answer, Reaction(answer))
        reaction.given += 1
        reaction.unread += 1
    for sighting in seen:
        following = [*sighting.arrivals[1:], None]
        for arrival, after in zip(sighting.arrivals, following, strict=True):
            answer = _answer(arrival, given)
            reaction = reactions.setdefault(answer, Reaction(answer))
            reaction.given += 1
            if after:
                reaction.sent_again += 1
                reaction.gaps.append(round(_gap(arrival, after), 3))
    return sorted(reactions.values(), key=lambda reaction: reaction.answer == "then 200")  # what ends them all, last


def _gap(before: Arrival, after: Arrival) -> float:
    return max(after.began - (before.ended or before.began), 0.0)


def _schedule(seen: Sequence[Sighting]) -> list[float]:
    waits: list[list[float]] = []
    for sighting in seen:
        for number, (before, after) in enumerate(_pairs(sighting)):
            waits += [[]] if number == len(waits) else []
            waits[number].append(_gap(before, after))
    return [round(statistics.median(wait), 3) for wait in waits]


def _retry_after(reactions: Sequence[Reaction]) -> str:
    asked = next((reaction.gaps for reaction in reactions if reaction.answer == "503"), [])
    others = [gap for reaction in reactions if reaction.answer in {"400", "500"} for gap in reaction.gaps]
    if not asked:
        return "not seen: no event was sent again after a 503"
    if min(asked) < RETRY_AFTER * 0.9:
        return f"ignored: sent again {span(min(asked))} after a 503 that asked for {RETRY_AFTER} s"
    if others and min(others) >= RETRY_AFTER * 0.9:
        return "cannot be told: its own waits are longer than the one that was asked for"
    return f"kept: waited {span(min(asked))} after a 503 that asked for {RETRY_AFTER} s"


def _timeout(whole: Sequence[Arrival], given: Mapping[int, str]) -> str:
    late = [arrival for arrival in whole if given.get(arrival.number) == "late" and arrival.ended]
    gave_up = [(arrival.ended or 0) - arrival.began for arrival in late if arrival.abandoned]
    waited = [(arrival.ended or 0) - arrival.began for arrival in late if not arrival.abandoned]
    if gave_up:
        return f"gives up after {statistics.median(gave_up):.1f} s"
    return f"waits for at least {max(waited):.1f} s" if waited else "not seen"


def _redirects(arrivals: Sequence[Arrival], given: Mapping[int, str]) -> str:
    if "301" not in given.values():
        return "not seen"
    return "followed" if any(arrival.target.endswith(MOVED) for arrival in arrivals) else "not followed"


def _changed(repeats: Sequence[tuple[Arrival, Arrival]], parts: Callable[[Arrival], Mapping[str, Any]]) -> set[str]:
    changed: set[str] = set()
    for before, after in repeats:
        was, now = parts(before), parts(after)
        changed |= {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
    return changed


def _endpoint(targets: set[str], path: str) -> str:
    if not targets:
        return "not seen"
    if targets == {path}:
        return "kept as it was configured, percent-encoding included" if "%" in path else "kept as it was configured"
    if targets <= {unquote(path), quote(unquote(path), safe="/")}:
        return "changed: decoded before sending"
    if targets == {quote(path)}:
        return "changed: percent-encoded a second time"
    return f"changed: {', '.join(sorted(targets)[:3])}"
