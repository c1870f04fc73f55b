"""How the commands print what is odd about what arrives: doubtful duplicates, gaps, changed fields."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console

from worker import ids
from worker.tables import cells, local_time, new_table


def print_doubtful(found: Sequence[Mapping[str, Any]]) -> None:
    """Duplicates by content, each with the delivery that it was taken for."""
    table, known = new_table("id", "delivery", "type", "at", "after", "times", "run as"), [one["id"] for one in found]
    for one in found:
        when = local_time(datetime.fromisoformat(one["at"]))
        about = (one["delivery"][: ids.SHORT], one["type"], when, f"{one['after_s']:g} s", one["duplicates"])
        table.add_row(*cells(ids.short(one["id"], known), *about, (one["run_as"] or "")[: ids.SHORT]))
    Console().print(table if found else "no duplicate was dropped by its content alone")


def print_gaps(told: Mapping[str, Any]) -> None:
    """What is missing before what."""
    table = new_table("subject", "was", "at", "never seen")
    for one in told["gaps"]:
        when = local_time(datetime.fromisoformat(one["at"]))
        table.add_row(*cells(one["subject"], one["type"], when, ", ".join(one["never_seen"])))
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    if told["remembered_since"] is None:
        console.print("nothing is remembered yet (REMEMBER_EVENTS)")
        return
    if told["gaps"]:
        Console(emoji=False).print(table)
    early = f", {told['too_early']} too early to tell" if told["too_early"] else ""
    console.print(f"gaps: {len(told['gaps'])} of {told['judged']}{early}; since {told['remembered_since']}")


def print_drift(told: Sequence[Mapping[str, Any]]) -> None:
    """What has changed, by type."""
    table = new_table("type", "field", "", "at", "in", "example")
    for one in told:
        for change in ("appeared", "vanished"):
            for field in one[change]:
                when = local_time(datetime.fromisoformat(field["at"]))
                share = f"{field['in']} of {field['of']}"
                table.add_row(*cells(one["type"], field["path"], change, when, share, field["example"]))
    if table.row_count:
        Console(emoji=False).print(table)
    samples = sum(one["samples"] for one in told)
    typer.echo(f"{table.row_count} fields changed in {len(told)} types, by {samples} samples")
