"""Where the payloads that are sent and received have their fields: the kit's own map, or a customer's payload.toml.

The file is the receiver's (`receiver/events/payload.toml` says what its entries mean), so that both sides look in the
same places. A time without an offset is one in UTC here, unless the file says otherwise.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

from examples.sender.terminal import Refusal
from receiver.events import payload_file
from receiver.events.paths import Paths
from receiver.events.payload_file import PayloadMapError
from receiver.events.payload_map import PayloadMap, Subject

__all__ = ["OURS", "PayloadMap", "Subject", "after", "from_file", "subjects_of"]
OURS = replace(payload_file.ours(), zone=UTC)
"""Where the kit's own receiver looks unless it is told otherwise."""


def from_file(file: Path) -> PayloadMap:
    """The map in a TOML file. Raises `Refusal` that names the entry and says what was expected."""
    try:
        where = payload_file.read(file)
    except PayloadMapError as error:
        raise Refusal(str(error)) from None
    return where if where.zone else replace(where, zone=UTC)


def after(where: PayloadMap, other: PayloadMap) -> PayloadMap:
    """Looks in the first map's places and then in the other's: for payloads of both."""
    if where is other:
        return where
    subjects = {
        kind: Subject(
            Paths((*mine.at, *other.subjects[kind].at)), Paths((*mine.id, *other.subjects[kind].id)), mine.fields
        )
        for kind, mine in where.subjects.items()
    }
    joined: dict[str, Any] = {
        name: Paths((*getattr(where, name), *getattr(other, name))) for name in ("id", "type", "time")
    }
    return replace(where, **joined, subjects=subjects)


def subjects_of(where: PayloadMap, payload: Any) -> Iterable[tuple[dict[str, Any], Iterable[str]]]:
    """What the payload is about: each object that describes a subject, with the paths of its id and its code."""
    for subject in where.subjects.values():
        codes = subject.fields["code"].paths if "code" in subject.fields else ()
        for find in subject.at.finders:
            if isinstance(part := find(payload), dict):
                yield part, (*subject.id, *codes)
