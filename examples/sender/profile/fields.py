"""Finds the fields with an event's type and time, because the sender's schema is not known."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from examples.sender.payload_map import OURS
from examples.sender.profile.sightings import Sighting, is_path, leaves
from receiver import events
from receiver.events import candidates, times


def type_path(seen: Sequence[Sighting]) -> str | None:
    """The field that most often has one of Glartek's types, among those present in every event."""
    return next((one.path for one in candidates.types(_told(seen)) if is_path(one.path)), None)


def event_type(sighting: Sighting, path: str | None) -> str:
    """The event's type: the catalog's name if known, else the sender's words."""
    first = sighting.arrivals[0]
    return events.canonical(leaves(first.content).get(path, first.type)) if path else first.type


def time_path(seen: Sequence[Sighting]) -> str | None:
    """The field with a time in every event that is equal on all its tries."""
    told = _told(seen)
    found = [one.path for one in candidates.moments(told, lambda name: not _changes(seen, name)) if is_path(one.path)]
    return next((path for path in found if all(fields.get(path) is not None for fields in told)), None)


def out_of_order(seen: Sequence[Sighting]) -> int | None:
    """The number of events that arrived after a later event; None if their bodies have no time."""
    paths = [path for path in (time_path(seen), *OURS.time) if path]
    moments = [_moment(leaves(sighting.arrivals[0].content), paths) for sighting in seen]
    known = [moment for moment in moments if moment is not None]
    if len(known) < 2:  # noqa: PLR2004 - an order needs two
        return None
    return sum(moment < latest for moment, latest in zip(known, itertools.accumulate(known, max), strict=True))


def _told(seen: Sequence[Sighting]) -> list[Mapping[str, Any]]:
    return [fields for sighting in seen if (fields := leaves(sighting.arrivals[0].content))]


def _moment(fields: Mapping[str, Any], paths: Sequence[str]) -> float | None:
    for value in (fields[path] for path in paths if path in fields):
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if moment := times.read(value, UTC):
            return moment.timestamp()
    return None


def _changes(seen: Sequence[Sighting], name: str) -> bool:
    return any(len({leaves(arrival.content).get(name) for arrival in sighting.arrivals}) > 1 for sighting in seen)
