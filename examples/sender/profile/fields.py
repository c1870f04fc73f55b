"""Finds the fields with an event's type and time, because the sender's schema is not known."""

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from examples.sender.payload_map import OURS
from examples.sender.profile.sightings import Sighting, is_path, leaves
from receiver import events

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def type_path(seen: Sequence[Sighting]) -> str | None:
    """The field that most often has one of Glartek's types, among those present in every event."""
    told = _told(seen)
    names = filter(is_path, told[0] if told else ())
    fields = [name for name in names if all(isinstance(fields.get(name), str) for fields in told)]
    named = {name: sum(events.canonical(fields[name]) in events.BY_NAME for fields in told) for name in fields}
    found = [name for name in named if named[name]]
    return min(found, key=lambda name: (-named[name], name not in OURS.type, name.count(".")), default=None)


def event_type(sighting: Sighting, path: str | None) -> str:
    """The event's type: the catalog's name if known, else the sender's words."""
    first = sighting.arrivals[0]
    return events.canonical(leaves(first.content).get(path, first.type)) if path else first.type


def time_path(seen: Sequence[Sighting]) -> str | None:
    """The field with a time in every event that is equal on all its tries."""
    told = _told(seen)
    found = [
        name for name in filter(is_path, told[0] if told else ())
        if all(_is_time(fields.get(name)) for fields in told) and not _changes(seen, name) and name.count(".") <= 1
    ]  # fmt: skip
    return min(
        found,
        key=lambda name: (name not in OURS.time, "occur" not in name, name.count(".")),
        default=None,
    )


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
        if _is_time(value):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and _DATE.match(value) is not None and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _changes(seen: Sequence[Sighting], name: str) -> bool:
    return any(len({leaves(arrival.content).get(name) for arrival in sighting.arrivals}) > 1 for sighting in seen)
