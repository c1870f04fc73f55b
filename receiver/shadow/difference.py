"""The difference of two payloads, with stand-ins for personal data: are they one event?"""

from collections.abc import Mapping
from typing import Any

from receiver.events.candidates import leaves
from receiver.events.payload_map import PayloadMap
from receiver.events.redaction import Redaction
from receiver.visible import visible

MOST = 20
"""Fields that are told."""
LONGEST = 80
"""Characters of a value that are told."""
_NONE = object()


def difference(first: Any, second: Any, where: PayloadMap) -> dict[str, Any]:
    """`differences`, by path, and in which of type, subject and event id (`other`) the two are other events."""
    redact = Redaction(where)
    before, after = (leaves(redact.value(payload, "")) for payload in (first, second))  # whole: what is around matters
    changed = _changed(before, after)
    told = [
        {"path": visible(path, LONGEST)}
        | {name: _shown(part[path]) for name, part in (("first", before), ("second", after)) if path in part}
        for path in changed[:MOST]
    ]
    hidden = len(_changed(leaves(first), leaves(second))) - len(changed)
    if hidden > 0:
        told.append({"path": f"({hidden} more, of numbers that are personal)"})
    return {"differences": told, "other": other(first, second, where)}


def other(first: Any, second: Any, where: PayloadMap) -> list[str]:
    """What two payloads that both say it say otherwise: then they are two events."""
    types = where.type_of(first), where.type_of(second)
    said = {
        "type": types,
        "subject": (where.subject(first, types[0]), where.subject(second, types[1])),
        "event id": (where.id_of(first), where.id_of(second)),
    }
    return [name for name, (one, another) in said.items() if one and another and one != another]


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [path for path in {**before, **after} if before.get(path, _NONE) != after.get(path, _NONE)]


def _shown(value: Any) -> str:
    return visible(value if isinstance(value, str) else repr(value), LONGEST)
