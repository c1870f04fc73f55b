"""How the commands print dead letters: one by one, in groups, and what a replay of some would do."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from receiver.visible import visible, visible_lines
from worker import ids
from worker.bulk import surprises
from worker.letter import DeadLetter
from worker.tables import cells, local_time, new_table

PAYLOAD = 4000
"""Characters of a payload that `dead show` prints."""


def print_letters(letters: Sequence[DeadLetter], known: Collection[str]) -> None:
    """Dead letters by the shortest ids that mean one of the `known` alone."""
    table = new_table("id", "kind", "handler", "type", "tries", "at", "reason")
    for letter in letters:
        about = (letter.kind, letter.handler, letter.type, letter.tries, local_time(letter.at), letter.reason)
        table.add_row(*cells(ids.short(letter.id, known), *about))
    Console().print(table if letters else "no dead letters")


def print_letter(letter: DeadLetter, payload: str) -> None:
    """One dead letter, its payload cut."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    for name, value in letter.summary().items():
        console.print(f"{name:<10} {visible(str(value))}")
    console.print(f"{'payload':<10} " + visible_lines(payload, PAYLOAD).replace("\n", f"\n{'':<10} "))
    if len(payload) > PAYLOAD:
        typer.echo(f"the payload is cut: {PAYLOAD} of {len(payload)} characters; --json or --raw for all", err=True)


def print_groups(groups: Sequence[Mapping[str, Any]]) -> None:
    """What has failed, by handler and error."""
    table = new_table("group", "count", "handler", "error", "first seen", "last seen")
    for one in groups:
        handler = one["handler"] or one["kind"]
        times = (local_time(datetime.fromisoformat(one[name])) for name in ("first", "last"))
        noted = [f"{one['owner'] or one['by']}: {one['text']}"] if "text" in one else []
        error = Text("\n".join(map(visible, [one["error"], *noted])))
        group, count, handler, first, last = cells(one["group"], one["count"], handler, *times)
        table.add_row(group, count, handler, error, first, last)
    Console(emoji=False).print(table if groups else "no dead letters")


def print_preview(rows: Sequence[Mapping[str, Any]]) -> None:
    """What a replay would run, and what of it may be a surprise."""
    console = Console(emoji=False, highlight=False)
    table = new_table("handler", "runs", "types", "accepted from", "to")
    for row in rows:
        types = ", ".join(f"{name or '(none)'} {count}" for name, count in row["types"].items())
        times = (local_time(datetime.fromisoformat(row[name])) for name in ("accepted_first", "accepted_last"))
        table.add_row(*cells(row["handler"], row["count"], types, *times))
    console.print(table if rows else "no dead letters")
    for row in rows:
        for line in surprises(row):
            console.print(Text(visible(f"{row['handler']}: {line}")))
