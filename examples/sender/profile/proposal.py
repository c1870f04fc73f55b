"""Proposes settings for the kit from a sender's requests, and tests them on these requests.

A key must be equal on every request for one event, and different between events. Each candidate is checked for that,
and the whole proposal is tested with the receiver's own rule before it is shown.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.sender.http.arrivals import Arrival
from examples.sender.payload_map import OURS
from examples.sender.profile.fields import event_type, time_path, type_path
from examples.sender.profile.replay import Replay, replay
from examples.sender.profile.sightings import PLUMBING, Sighting, is_path, is_uuid, leaves
from examples.sender.terminal import span
from receiver import events
from receiver.events.payload_file import as_toml
from receiver.settings import ReceiverSettings
from receiver.sources import BODY, CHANGING_HEADERS

_DAY, _HOUR = 86400.0, 3600.0
_ID_NAME = re.compile(r"(^|[._-])id$|[a-z]Id$|uid$|uuid|guid|key|ulid|reference|delivery$|^id", re.IGNORECASE)
_NOT_AN_ID = re.compile(r"time|date|_at$|At$|attempt|signature|nonce|request-?id|correlation|trace", re.IGNORECASE)
_ABSENT = object()
_LIST_ITEM = re.compile(r"(^|\.)\d+(\.|$)")  # the kit's paths go through objects only
_LONGEST_ID = 200
_HEADER = re.compile(r"[a-z0-9-]+")  # the names that IDEMPOTENCY_SOURCES accepts
_WORDS = {"webhook-id": "webhook-id", "idempotency-key": "idempotency-key", "ce-id": "cloudevents"}

Fields = Callable[[Arrival], Mapping[str, Any]]


@dataclass(slots=True)
class Proposal:
    """Settings to paste, their reasons, and the result of replaying the requests with them."""

    settings: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    never: list[str] = field(default_factory=list)
    """Fields and headers that must not be used as an id."""
    payload_toml: str = ""
    """The same paths, as a payload.toml."""
    replay: Replay | None = None

    @property
    def replayed(self) -> str:
        """The result of the replay as text."""
        return self.replay.told if self.replay else ""

    def env(self) -> str:
        """The settings for `.env`, quoted so that nothing is expanded."""
        return "\n".join(f"{name}={_quoted(value)}" for name, value in self.settings.items())


def propose(seen: Sequence[Sighting]) -> Proposal:
    """The settings for a sender of these events; the reasons say what too few events leave unproven."""
    proposal = Proposal()
    if not seen:
        proposal.reasons.append("nothing arrived, so there is nothing to propose")
        return proposal
    body_ids = _kept_apart(seen, lambda arrival: leaves(arrival.content))
    good = [path for path in body_ids if not _is_of_the_subject(path)]
    found = _kept_apart(seen, lambda arrival: dict(arrival.headers))
    headers = [name for name in found if name not in CHANGING_HEADERS and _HEADER.fullmatch(name)]
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
    proposal.payload_toml = _payload_toml(proposal, seen)
    proposal.replay = replay(proposal.settings, seen)
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
    if len(seen) < 2:  # noqa: PLR2004 - a comparison needs two
        proposal.reasons.append("only one event was seen, so it is not proven that ids differ between events")


def _kept_apart(seen: Sequence[Sighting], fields: Fields) -> list[str]:
    """Fields that may hold the event's id: always present, equal within an event, else different; best first."""
    every = [[fields(arrival) for arrival in sighting.arrivals] for sighting in seen]
    first = every[0][0]
    like_one = [name for name in first if _ID_NAME.search(name) or is_uuid(first[name])]
    named = [name for name in like_one if not _NOT_AN_ID.search(name)]
    names = [name for name in named if is_path(name) and not _LIST_ITEM.search(name)]
    return sorted(filter(lambda name: _is_key(name, every), names), key=_rank)


def _is_key(name: str, every: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    values = [{part.get(name) for part in parts} for parts in every]
    constant = all(len(value) == 1 and _is_id(next(iter(value))) for value in values)
    return constant and len(set.union(*values)) == len(values)


def _is_id(value: Any) -> bool:
    return (isinstance(value, str) and 0 < len(value) <= _LONGEST_ID) or type(value) is int


def _rank(name: str) -> tuple[bool, bool, int, str]:
    known = name in OURS.id or name in _WORDS
    return not known, "event" not in name.casefold(), name.count("."), name


def _is_of_the_subject(path: str) -> bool:
    """Whether a field identifies the Work Order or Action, not the event: as a key it would lose later events."""
    holder, _, last = path.rpartition(".")
    paths = {path for subject in OURS.subjects.values() for path in subject.at}
    inside = any(holder == subject or holder.startswith(subject + ".") for subject in paths)
    return inside and "event" not in last.casefold() and "delivery" not in last.casefold()


def _misleading(seen: Sequence[Sighting], kept: Sequence[str]) -> list[str]:
    """Fields that look like an id but are not: new on each try, shared by events, or the id of their subject."""
    names: dict[str, None] = {}
    for arrival in (arrival for sighting in seen for arrival in sighting.arrivals):
        names |= dict.fromkeys(name for name in leaves(arrival.content) if name in OURS.id)
        names |= dict.fromkeys(name for name, _ in arrival.headers if name.endswith(("-id", "-key")))
    looks_like_one = [name for name in names if name not in kept]
    new = [*_new_on_each_try(seen, lambda arrival: leaves(arrival.content))]
    new += [name for name in _new_on_each_try(seen, lambda arrival: dict(arrival.headers)) if name not in PLUMBING]
    return list(dict.fromkeys([*looks_like_one, *new, *filter(_is_of_the_subject, kept)]))


def _new_on_each_try(seen: Sequence[Sighting], fields: Fields) -> list[str]:
    """The fields with a different value on each try of every repeated event."""
    every = [[fields(arrival) for arrival in one.arrivals] for one in seen if len(one.arrivals) > 1]
    names = every[0][-1] if every else {}
    return sorted(
        name
        for name in names
        if all(len({repr(part.get(name, _ABSENT)) for part in parts}) == len(parts) for parts in every)
    )


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
    return f"{math.ceil(seconds / unit)}{letter}"


def _paths(proposal: Proposal, seen: Sequence[Sighting]) -> None:
    for variable, found in (("EVENT_TYPE_PATHS", type_path(seen)), ("OCCURRED_AT_PATHS", time_path(seen))):
        if found:
            proposal.settings[variable] = found
        else:
            proposal.reasons.append(f"{variable}: nothing found; set it if the body has such a field")


def _payload_toml(proposal: Proposal, seen: Sequence[Sighting]) -> str:
    """The found paths, and object and id of each subject if they are at the kit's own paths."""
    names = {"id": "EVENT_ID_PATHS", "type": "EVENT_TYPE_PATHS", "time": "OCCURRED_AT_PATHS"}
    event = {
        name: proposal.settings[setting].split(",") for name, setting in names.items() if setting in proposal.settings
    }
    if not event:
        return ""
    subjects: dict[str, dict[str, list[str]]] = {}
    path = type_path(seen)
    for sighting in seen:
        fields, kind = leaves(sighting.arrivals[0].content), events.subject_kind(event_type(sighting, path))
        for at in OURS.subjects[kind].at if kind else ():
            ids = [
                name
                for name in fields
                if is_path(name)
                and name.startswith(f"{at}.")
                and _is_subject_id(name.removeprefix(f"{at}."), kind or "")
            ]
            if ids and kind and kind not in subjects:
                subjects[kind] = {"at": [at], "id": [min(ids, key=len).removeprefix(f"{at}.")]}
    return as_toml(event, subjects)


def _is_subject_id(name: str, kind: str) -> bool:
    """`id`, `workOrderId`, `work_order_id`, `actionId`."""
    return events.normalised(name) in {"id", events.normalised(kind) + "id"} and "." not in name


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
