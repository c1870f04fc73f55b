"""From what a sender did to settings for the kit, tried out on the very requests that arrived.

A key must be the same on every request for one event, and different between events: each candidate is held to that,
and the whole proposal is replayed through the receiver's own rule before it is shown.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.sender.http.arrivals import Arrival
from examples.sender.profile.fields import time_path, type_path
from examples.sender.profile.sightings import Sighting, leaves
from examples.sender.terminal import span
from receiver import events
from receiver.delivery import BODY, CHANGING_HEADERS, Sources
from receiver.settings import ReceiverSettings

_DAY, _HOUR = 86400.0, 3600.0
_ID_NAME = re.compile(r"(^|[._-])id$|[a-z]Id$|uid$|uuid|guid|key|ulid|reference|delivery$|^id", re.IGNORECASE)
_NOT_AN_ID = re.compile(r"time|date|_at$|At$|attempt|signature|nonce|request-?id|correlation|trace", re.IGNORECASE)
_LIST_ITEM = re.compile(r"(^|\.)\d+(\.|$)")  # the kit's paths go through objects only
_LONGEST_ID = 200
_WORDS = {"webhook-id": "webhook-id", "idempotency-key": "idempotency-key", "ce-id": "cloudevents"}

Fields = Callable[[Arrival], Mapping[str, Any]]


@dataclass(slots=True)
class Proposal:
    """Settings to paste, why they are so, and what came of replaying the requests with them."""

    settings: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    never: list[str] = field(default_factory=list)
    """Fields and headers that look like an id and must not be used as one."""
    replayed: str = ""

    def lines(self) -> str:
        """The settings as they go into `.env`."""
        return "\n".join(f"{name}={value}" for name, value in self.settings.items())


def propose(seen: Sequence[Sighting]) -> Proposal:
    """The settings for a sender of these events; with too few of them, the reasons say what is not proven."""
    proposal = Proposal()
    if not seen:
        proposal.reasons.append("nothing arrived, so there is nothing to propose")
        return proposal
    body_ids = _kept_apart(seen, lambda arrival: leaves(arrival.body))
    good = [path for path in body_ids if not _is_of_the_subject(path)]
    found = _kept_apart(seen, lambda arrival: dict(arrival.headers))
    headers = [name for name in found if name not in CHANGING_HEADERS]
    words = [_WORDS.get(name, f"header:{name}") for name in headers]
    proposal.never = _misleading(seen, [*body_ids, *found])
    if good:
        words = ["event-id", *words]
        proposal.settings["EVENT_ID_PATHS"] = good[0]
    kept = [*(f"{path} in the body" for path in good[:1]), *(f"the header {name}" for name in headers)]
    same = "was the same on every try of an event, and " if any(len(one.arrivals) > 1 for one in seen) else ""
    proposal.reasons += [f"{what} {same}differed between events" for what in kept]
    proposal.settings = {"IDEMPOTENCY_SOURCES": ",".join([*words, BODY]), **proposal.settings}
    _explain(proposal, seen, found=bool(words))
    _windows(proposal, seen, by_body=not words)
    _paths(proposal, seen)
    proposal.replayed = _replayed(proposal, seen)
    return proposal


def _explain(proposal: Proposal, seen: Sequence[Sighting], *, found: bool) -> None:
    repeats = [sighting for sighting in seen if len(sighting.arrivals) > 1]
    if not found:
        proposal.reasons.append("no field and no header tells events apart, so only their bytes are left")
        if any(len({arrival.body for arrival in sighting.arrivals}) > 1 for sighting in repeats):
            proposal.reasons.append(
                "but its bytes change from try to try: expect duplicates, so make handlers idempotent"
            )
    if not repeats:
        proposal.reasons.append("no event came twice, so it is not proven that an id stays the same on a retry")
    if len(seen) < 2:  # noqa: PLR2004 - two make a difference
        proposal.reasons.append("only one event was seen, so it is not proven that ids differ between events")


def _kept_apart(seen: Sequence[Sighting], fields: Fields) -> list[str]:
    """The fields that hold an id: present always, constant within an event, different between events; best first."""
    every = [[fields(arrival) for arrival in sighting.arrivals] for sighting in seen]
    named = [name for name in every[0][0] if _ID_NAME.search(name) and not _NOT_AN_ID.search(name)]
    names = [name for name in named if not _LIST_ITEM.search(name)]
    return sorted(filter(lambda name: _is_key(name, every), names), key=_rank)


def _is_key(name: str, every: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    values = [{part.get(name) for part in parts} for parts in every]
    constant = all(len(value) == 1 and _is_id(next(iter(value))) for value in values)
    return constant and len(set.union(*values)) == len(values)


def _is_id(value: Any) -> bool:
    return (isinstance(value, str) and 0 < len(value) <= _LONGEST_ID) or type(value) is int


def _rank(name: str) -> tuple[bool, bool, int, str]:
    known = name in events.EVENT_ID_PATHS or name in _WORDS
    return not known, "event" not in name.casefold(), name.count("."), name


def _is_of_the_subject(path: str) -> bool:
    """Whether a field names the Work Order or the Action, not the event: a second event about it would be lost."""
    holder, _, last = path.rpartition(".")
    paths = {subject for subjects in events.SUBJECT_FIELDS.values() for subject in subjects}
    inside = any(holder == subject or holder.startswith(subject + ".") for subject in paths)
    return inside and "event" not in last.casefold() and "delivery" not in last.casefold()


def _misleading(seen: Sequence[Sighting], kept: Sequence[str]) -> list[str]:
    """What looks like an id and is none: it changes from try to try, is shared by events, or names their subject."""
    names: dict[str, None] = {}
    for arrival in (arrival for sighting in seen for arrival in sighting.arrivals):
        names |= dict.fromkeys(name for name in leaves(arrival.body) if name in events.EVENT_ID_PATHS)
        names |= dict.fromkeys(name for name, _ in arrival.headers if name.endswith(("-id", "-key")))
    return [*(name for name in names if name not in kept), *filter(_is_of_the_subject, kept)]


def _windows(proposal: Proposal, seen: Sequence[Sighting], *, by_body: bool) -> None:
    longest = max(sighting.arrivals[-1].began - sighting.arrivals[0].began for sighting in seen)
    defaults = ReceiverSettings.model_fields
    for_ids = max(2 * longest, defaults["dedupe_window"].default)
    for_bodies = max(2 * longest if by_body else 0.0, defaults["dedupe_window_body"].default)
    proposal.settings |= {"DEDUPE_WINDOW": _duration(for_ids), "DEDUPE_WINDOW_BODY": _duration(for_bodies)}
    if longest:
        proposal.reasons.append(
            f"an event's last try came up to {span(longest)} after its first; the windows are twice that, "
            "or the kit's defaults where those are longer"
        )


def _duration(seconds: float) -> str:
    """Rounded up to whole hours, or to whole days from two days on."""
    unit, letter = (_DAY, "d") if seconds >= 2 * _DAY else (_HOUR, "h")
    return f"{-int(-seconds // unit)}{letter}"


def _paths(proposal: Proposal, seen: Sequence[Sighting]) -> None:
    for variable, found in (("EVENT_TYPE_PATHS", type_path(seen)), ("OCCURRED_AT_PATHS", time_path(seen))):
        if found:
            proposal.settings[variable] = found
        else:
            proposal.reasons.append(f"{variable}: nothing found; set it if the body has such a field")


def _replayed(proposal: Proposal, seen: Sequence[Sighting]) -> str:
    """What the receiver makes of the same requests with these settings."""
    settings = proposal.settings
    id_paths = settings.get("EVENT_ID_PATHS", "").split(",") if "EVENT_ID_PATHS" in settings else ()
    sources = Sources(settings["IDEMPOTENCY_SOURCES"].split(","), id_paths, events.EVENT_TYPE_PATHS)
    kept = [{sources.delivery(dict(a.headers), a.body, 0).id for a in sighting.arrivals} for sighting in seen]
    requests = sum(len(sighting.arrivals) for sighting in seen)
    distinct = len(set.union(*kept))
    verdict = "as many as there were" if distinct == len(seen) == sum(map(len, kept)) else f"there were {len(seen)}"
    return f"replayed through the kit with these settings: {requests} requests became {distinct} events, {verdict}"
