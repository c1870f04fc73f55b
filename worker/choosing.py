"""Which dead letters a command is about: its options, and the choice that they make."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, NamedTuple

import typer

from receiver.environment import SettingsError
from receiver.events import storable
from worker import ids
from worker.dead_letters import Operator
from worker.letter import DeadLetter, Filter

Handler = Annotated[str | None, typer.Option(help="Only this handler, such as teams.notify.")]
Type = Annotated[str | None, typer.Option("--type", help="Only this event type.")]
Kind = Annotated[str | None, typer.Option(help="Only this kind: dead, conflict or job.")]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason contains this.")]
OlderThan = Annotated[str | None, typer.Option(help="Only those older than this, such as 30m or 7d.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE, all that are given: handler, type, kind, reason, group, delivery, older_than, newer_than."
    ),
]
Ids = Annotated[list[str] | None, typer.Argument(help="Ids of dead letters, as `dead list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that match, instead of ids.")]
Why = Annotated[str, typer.Option(help="The reason, for the audit log.")]


class Choice(NamedTuple):
    """What a command was given: ids, or a filter, or `--all`."""

    ids: Sequence[str]
    which: Filter
    every: bool

    @property
    def about(self) -> str:
        """One line, for the audit log."""
        if self.ids:
            return ", ".join(self.ids)[:300]
        given = {one.name: getattr(self.which, one.name) for one in fields(self.which)}
        return ", ".join(f"{name} {value}" for name, value in given.items() if value is not None) or "all"


async def chosen_letters(operator: Operator, choice: Choice) -> list[DeadLetter]:
    """The dead letters that are meant. Raises `SettingsError` for an id that is none, and where nothing was given."""
    if not choice.ids:
        if not choice.every and choice.which == Filter():
            raise SettingsError("expected ids of dead letters, a filter such as --handler, or --all")
        return await matching(operator, choice.which)
    known = await operator.dead_ids()
    meant = [(name, ids.the_one(storable(name), known)) for name in choice.ids]
    letters = [(name, await operator.letter(dead_id) if dead_id else None) for name, dead_id in meant]
    unknown = [dead_id for dead_id, letter in letters if letter is None]
    if unknown:
        advice = "no such dead letter; `python -m worker dead list` shows them"
        raise SettingsError(*(f"{dead_id}: {advice}" for dead_id in unknown))
    return [letter for _, letter in letters if letter is not None]


async def matching(operator: Operator, which: Filter) -> list[DeadLetter]:
    """All that the filter lets through, oldest first."""
    return [letter async for letter in operator.letters(which)]


def filter_of(
    handler: str | None = None,
    type_: str | None = None,
    kind: str | None = None,
    reason: str | None = None,
    older_than: str | None = None,
    where: Sequence[str] | None = None,
) -> Filter:
    """What the options and each `--where` say together."""
    options = {"handler": handler, "type": type_, "kind": kind, "reason": reason, "older_than": older_than}
    words = {}
    for given in where or ():
        name, equals, value = given.partition("=")
        if not equals or not value:
            raise SettingsError(f"--where: expected NAME=VALUE, such as group=1f2e3d4c, got {given!r}")
        words[name.strip().replace("-", "_")] = value
    try:
        which = Filter.of({name: value for name, value in options.items() if value is not None})
    except SettingsError as error:
        raise SettingsError(*(f"--{line.replace('_', '-', 1)}" for line in error.lines)) from None
    try:
        return which.narrowed(words)
    except SettingsError as error:
        raise SettingsError(*(f"--where: {line}" for line in error.lines)) from None
