"""Finds out which requests carry the same event, before any id field is known."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from examples.sender.http.arrivals import Arrival
from receiver.events import candidates
from receiver.events.guesses import UUID

_ID_HEADERS = ("webhook-id", "idempotency-key", "ce-id")
# Names of fields that may change from one attempt to the next.
_CHANGING = re.compile(r"attempt|retr|tries|sent|deliver|nonce|signature|time|date|_at$|At$", re.IGNORECASE)
_ID = re.compile(r"id$|uuid|guid|key", re.IGNORECASE)
MOVED = "-moved"
"""The end of the path that the script redirects to; requests there repeat one that is counted already."""
PLUMBING = frozenset({"content-length", "host", "connection", "date"})
"""Headers that differ because of HTTP, not because of the event."""
_ENOUGH = 3  # least equal fields for two bodies to be the same event


@dataclass(slots=True)
class Sighting:
    """One event with its requests, in order of arrival."""

    arrivals: list[Arrival] = field(default_factory=list)


def sightings(arrivals: Iterable[Arrival], *, by_sender: bool = True) -> list[Sighting]:
    """The events in these requests, without requests whose body was not read.

    With `by_sender`, one event from two senders (user agents) counts as two sightings, each with its own tries.
    """
    found: list[Sighting] = []
    for arrival in arrivals:
        if arrival.complete and not arrival.target.endswith(MOVED):
            place(found, arrival, by_sender=by_sender)
    return found


def place(found: list[Sighting], arrival: Arrival, *, by_sender: bool = True) -> Sighting:
    """Add a request to its event, or to a new one at the end of the list."""
    sender = arrival.header("user-agent")
    for sighting in reversed(found):
        if by_sender and sighting.arrivals[0].header("user-agent") != sender:
            continue
        if any(same_event(earlier, arrival) for earlier in (sighting.arrivals[-1], sighting.arrivals[0])):
            sighting.arrivals.append(arrival)
            return sighting
    found.append(Sighting([arrival]))
    return found[-1]


def same_event(earlier: Arrival, later: Arrival) -> bool:
    """Whether two requests carry one event: the same bytes, the same id header, or a similar body.

    A similar body differs only in fields such as `sent_at` or `attempt`. After a failure it may also differ in one
    field named like an id, because some senders make a new id for each attempt; then another id or a time must match.
    Or in nothing but one number, which is one more: a count of the attempts, whatever its name; then a UUID or a time
    must match.
    """
    for name in _ID_HEADERS:
        if (theirs := earlier.header(name)) and (ours := later.header(name)):
            return theirs == ours and earlier.header("ce-source") == later.header("ce-source")
    if earlier.content == later.content:
        return bool(later.content)
    return _retold(earlier, later)


def is_path(name: str) -> bool:
    """Whether a path can be a value in a comma-separated setting: on one line, without commas or outer spaces."""
    return name.isprintable() and "," not in name and all(step and step == step.strip() for step in name.split("."))


def leaves(body: bytes) -> Mapping[str, Any]:
    """The values of a JSON object by dotted path, list items by number; empty for any other body."""
    return _leaves(body)


@lru_cache(maxsize=4096)
def _leaves(body: bytes) -> Mapping[str, Any]:
    try:
        return candidates.leaves(json.loads(body))
    except (ValueError, RecursionError):
        return {}


def _retold(earlier: Arrival, later: Arrival) -> bool:
    before, after = leaves(earlier.content), leaves(later.content)
    if _failed(earlier) and _is_counted(before, after):
        return True
    same, odd, told = 0, "", False
    for path in before.keys() | after.keys():
        if path in before and path in after and before[path] == after[path]:
            same += 1
            told = told or _may_change(path) or _ID.search(path) is not None
        elif not _may_change(path):
            if odd or not (_failed(earlier) and _ID.search(path)):
                return False
            odd = path
    return same >= _ENOUGH and (told or not odd)  # two different events may differ only in their ids


def _is_counted(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two bodies differ in one number alone, which is one more, and have a UUID or a time in common."""
    differ = [path for path in before if path not in after or before[path] != after[path]]
    if before.keys() != after.keys() or len(differ) != 1 or len(before) <= _ENOUGH:
        return False
    first, second = before[differ[0]], after[differ[0]]
    return (
        type(first) is type(second) is int
        and second == first + 1
        and any(is_uuid(value) or candidates.is_moment(value) for path, value in before.items() if path != differ[0])
    )


def is_uuid(value: Any) -> bool:
    return isinstance(value, str) and UUID.fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _may_change(path: str) -> bool:
    return _CHANGING.search(path.rpartition(".")[2]) is not None


def _failed(arrival: Arrival) -> bool:
    answer = arrival.answer
    return answer is not None and (arrival.abandoned or answer.ending != "whole" or answer.status not in {200, 201})
