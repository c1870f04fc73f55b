"""Hides values of a payload at given paths: in the audit log (AUDIT_MASK) and in the console (CONSOLE_MASK)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import jmespath
from pydantic import AfterValidator

from receiver import events
from receiver.environment import Words
from receiver.events.paths import DOTTED
from receiver.events.payload_map import FROM_TOP, PayloadMap, Subject

MASKED = "***"
P = TypeVar("P", tuple[str, ...], tuple[str, ...] | None)


def checked(paths: P) -> P:
    """The paths of a setting. Raises ValueError for one that would match nothing: its value would stay visible."""
    for path in paths or ():
        if not all(step == "*" or _is_name(step) for step in path.split(".")):
            raise ValueError(
                f"expected paths such as actor.name,work_order.assignees.*.name; {path!r} would hide nothing"
            )
    return paths


def _is_name(step: str) -> bool:
    return DOTTED.fullmatch(step.removesuffix("[]")) is not None and events.normalised(step) != ""


Mask = Annotated[Words, AfterValidator(checked)]
"""A setting: the paths of what is hidden."""


def masked(payload: Any, paths: Iterable[str], where: PayloadMap) -> Any:
    """A copy of the payload with the values at the dotted paths replaced.

    Names match in any case and spelling (`work_order`, `workOrder`). `*` stands for every item of a list or object, and
    may be left out for a list. A text or number where the path goes deeper is hidden completely. A path by the kit's
    names (`actor.name`, `work_order.assignees`) hides what `payload.toml` reads for it, too.
    """
    places = (
        tuple(step if step == "*" else events.normalised(step) for step in steps)
        for path in paths
        for steps in _places(path, where)
    )
    for place in dict.fromkeys(places):
        payload = _masked(payload, place)
    return payload


def _places(path: str, where: PayloadMap) -> Iterator[Sequence[str]]:
    """The places of a path, each as steps: as it stands, and wherever the kit looks for what it names."""
    first, *rest = path.split(".")
    yield [first, *rest]
    kinds = {events.normalised(kind): subject for kind, subject in where.subjects.items()}
    if subject := kinds.get(events.normalised(first)):
        yield from _of_subject(subject, rest)
    if events.normalised(first) == "actor":
        for read in where.actor:
            yield from _read_by(read, rest)


def _of_subject(subject: Subject, rest: Sequence[str]) -> Iterator[Sequence[str]]:
    """The places of a path into a Work Order or an Action: in each object that the kit takes for it, as the path stands
    and as the map reads the field that it names.
    """
    field = next((one for name, one in subject.fields.items() if events.normalised(name) == _first(rest)), None)
    reads = field.paths if field else ()
    for at in subject.at:
        yield from _read_by(at, rest) if rest or at != "@" else [["*"]]
        for read in reads:
            for steps in [] if read.startswith(FROM_TOP) else _read_by(read, rest[1:]):
                yield from _read_by(at, steps)
    for read in reads:
        if read.startswith(FROM_TOP):
            yield from _read_by(read.removeprefix(FROM_TOP), rest[1:])


def _first(rest: Sequence[str]) -> str:
    return events.normalised(rest[0]) if rest else ""


def _read_by(path: str, rest: Sequence[str]) -> list[Sequence[str]]:
    """The steps to `rest` of what a path reads; where that is an expression, to each member that it reads, whole."""
    if path == "@":
        return [rest]
    plain = path.removesuffix("[]")
    return [[*plain.split("."), *rest]] if DOTTED.fullmatch(plain) else [[name] for name in _members(path)]


@lru_cache(maxsize=1024)
def _members(path: str) -> Sequence[str]:
    """The members of an object that a JMESPath reads; `*` where it reads the object itself, such as `to_string(@)`."""
    return sorted(_members_of(jmespath.compile(path).parsed))


def _members_of(node: Any) -> set[str]:
    if node["type"] == "field":
        return {node["value"]}
    if node["type"] in {"current", "identity"}:
        return {"*"}
    inner = {"subexpression", "index_expression", "projection", "filter_projection", "value_projection", "pipe"}
    # what follows in such a node is read from what its first child has found: no member of the object itself
    children = node["children"][:1] if node["type"] in inner else node["children"]
    return {name for child in children for name in _members_of(child)}


def _masked(value: Any, steps: Sequence[str]) -> Any:
    if value is None:
        return None
    if not steps:
        return MASKED
    step, rest = steps[0], steps[1:]
    if isinstance(value, list):
        return [_masked(item, rest if step == "*" else steps) for item in value]
    if not isinstance(value, dict):
        return MASKED
    if step == "*" and rest:  # a single object in place of a list
        value = _masked(value, rest)
    return {
        name: _masked(item, rest) if step in {"*", events.normalised(name)} else item for name, item in value.items()
    }
