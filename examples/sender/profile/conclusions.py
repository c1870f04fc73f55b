"""Derives a sender's behaviour from its requests and the answers to them."""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from examples.sender.http.arrivals import Arrival
from examples.sender.profile.fields import event_type, out_of_order, type_path
from examples.sender.profile.reactions import GOOD, Reaction, Watched, gap, reactions, tries
from examples.sender.profile.script import RETRY_AFTER
from examples.sender.profile.sightings import MOVED, PLUMBING, Sighting, leaves, sightings
from examples.sender.terminal import span, without_secrets
from receiver import events


@dataclass(frozen=True, slots=True)
class Try:
    """One request: its start in seconds after the first request, how long it was open, and its answer."""

    at: float
    seconds: float
    answer: str

    @property
    def good(self) -> bool:
        return self.answer in GOOD


@dataclass(slots=True)
class Profile:
    """A sender's observed behaviour. Times in seconds."""

    requests: int
    events: int
    types: list[str]
    types_missing: list[str]
    types_unknown: list[str]
    reactions: list[Reaction]
    most_tries: int
    tries: str
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
    """Events that arrived after a later event; None if unknown."""
    most_at_once: int
    connections: int
    content_types: dict[str, int]
    user_agents: list[str]
    http: dict[str, int]
    tls: list[str]
    endpoint: str
    malformed: list[str]
    """Descriptions of received data that is not HTTP/1.1, for example because of spaces or accents in the URL."""
    doubts: list[str]
    """Reasons why conclusions are limited or impossible."""
    timeline: list[tuple[str, list[Try]]]
    """Every event's type and tries, in the order of arrival."""


def profile(
    arrivals: Sequence[Arrival],
    given: Mapping[int, str],
    path: str,
    malformed: Sequence[str] = (),
    until: float = math.inf,
) -> Profile:
    """The profile of the sender of these requests; `path` is the percent-encoded path it was configured with.

    `malformed` describes other received data; `until` is when the recording ended, on the monotonic clock.
    """
    whole = [arrival for arrival in arrivals if arrival.complete and not arrival.target.endswith(MOVED)]
    watched = Watched(sightings(whole), given, until)
    seen = watched.seen
    path_of_type = type_path(seen)
    types = list(dict.fromkeys(event_type(sighting, path_of_type) for sighting in seen))
    repeats = [pair for sighting in seen for pair in itertools.pairwise(sighting.arrivals)]
    changing = _changed(repeats, lambda arrival: dict(arrival.headers)) - PLUMBING
    names = {name for arrival in whole for name, _ in arrival.headers}
    found = reactions(watched, [arrival for arrival in arrivals if not arrival.complete])
    return Profile(
        requests=len(arrivals),
        events=len(seen),
        types=[name for name in types if name in events.BY_NAME],
        types_missing=[name for name in events.BY_NAME if name not in types],
        types_unknown=[name for name in types if name not in events.BY_NAME],
        reactions=found,
        most_tries=watched.most_tries,
        tries=tries(watched),
        schedule=_schedule(seen),
        retry_after=_retry_after(found),
        timeout=_timeout(whole, given),
        redirects=_redirects(arrivals, given),
        repeats=len(repeats),
        byte_identical=sum(before.body == after.body for before, after in repeats),
        fields_changing=sorted(_changed(repeats, lambda arrival: leaves(arrival.content))),
        headers_changing=sorted(changing),
        headers_constant=sorted(names - changing - PLUMBING) if repeats else [],
        out_of_order=out_of_order(seen),
        most_at_once=max((arrival.together for arrival in whole), default=0),
        connections=len({arrival.connection for arrival in arrivals}),
        content_types=dict(Counter(arrival.header("content-type") or "(none)" for arrival in whole)),
        user_agents=sorted({arrival.header("user-agent") or "(none)" for arrival in whole}),
        http=dict(Counter(_http(arrival) for arrival in whole)),
        tls=sorted({arrival.tls for arrival in whole if arrival.tls}),
        endpoint=_endpoint({arrival.target for arrival in whole}, path),
        malformed=list(malformed),
        doubts=_doubts(whole, malformed),
        timeline=[(event_type(one, path_of_type), _tries(one, whole[0].began, watched)) for one in seen],
    )


def _doubts(whole: Sequence[Arrival], malformed: Sequence[str]) -> list[str]:
    doubts = []
    why = "; ".join(f"{reason} ({count} times)" for reason, count in Counter(malformed).most_common(3))
    if malformed and len(malformed) >= len(whole):
        doubts.append(f"nothing can be concluded: most of what came is not HTTP/1.1 that a receiver understands: {why}")
    elif malformed:
        doubts.append(f"{len(malformed)} requests are not HTTP/1.1, so their events are missing below: {why}")
    senders = sorted({arrival.header("user-agent") or "(none)" for arrival in whole})
    if len(senders) > 1:
        doubts.append(
            f"several senders at once ({', '.join(senders[:5])}): tries are told apart by their user agent, all else "
            "is told together; profile one at a time"
        )
    return doubts


def _http(arrival: Arrival) -> str:
    upgrade = arrival.header("upgrade")
    return f"{arrival.method} HTTP/{arrival.http_version}" + (f", offers an upgrade to {upgrade}" if upgrade else "")


def _tries(sighting: Sighting, begin: float, watched: Watched) -> list[Try]:
    return [
        Try(round(one.began - begin, 3), round((one.ended or one.began) - one.began, 3), watched.answer(one))
        for one in sighting.arrivals
    ]


def _schedule(seen: Sequence[Sighting]) -> list[float]:
    waits: list[list[float]] = []
    for sighting in seen:
        for number, (before, after) in enumerate(itertools.pairwise(sighting.arrivals)):
            waits += [[]] if number == len(waits) else []
            waits[number].append(gap(before, after))
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
    gave_up = sorted((arrival.ended or 0) - arrival.began for arrival in late if arrival.abandoned)
    waited = [(arrival.ended or 0) - arrival.began for arrival in late if not arrival.abandoned]
    if gave_up:
        spread = f" (up to {span(gave_up[-1])}, {len(gave_up)} times)" if len(gave_up) > 1 else ""
        return f"gives up after {span(gave_up[0])}{spread}"
    return f"waits for at least {max(waited):.1f} s" if waited else "not seen"


def _redirects(arrivals: Sequence[Arrival], given: Mapping[int, str]) -> str:
    asked = [arrival for arrival in arrivals if given.get(arrival.number) == "301"]
    followed = [arrival for arrival in arrivals if arrival.target.endswith(MOVED)]
    if not asked:
        return "not seen"
    if not followed:
        return "not followed"
    changed = next((one for one in followed if one.method != asked[0].method), None)
    if changed and not changed.body:
        return f"followed as {changed.method}, and the body is lost: the event never arrives at the new place"
    if changed:
        return f"followed as {changed.method}"
    return "followed" if all(one.body for one in followed) else "followed, but without the body: the event is lost"


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
    return f"changed: {', '.join(map(without_secrets, sorted(targets)[:3]))}"
