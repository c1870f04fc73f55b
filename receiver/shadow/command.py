"""`python -m receiver keys`: what each candidate for the idempotency key would have done."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver import command
from receiver.command import AsJson
from receiver.environment import load
from receiver.queue.keys import Keys
from receiver.settings import Settings
from receiver.shadow.report import KINDS, report
from receiver.visible import to_json, visible


def keys(
    examples: Annotated[int, typer.Option(min=0, max=5, help="Examples of each kind that are printed.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Tell what the candidates in SHADOW_SOURCES would have done to what has arrived, and which is safe.

    Exit code 1 when none is safe.
    """
    name = Keys(load(Settings).key_prefix).shadow
    fields = command.with_redis(lambda redis: redis.execute_command("HGETALL", name))
    told = report({field.decode(): value.decode() for field, value in fields.items()})
    if as_json:
        typer.echo(to_json(told))
    elif told:
        _print(told, examples)
    else:
        typer.echo(
            "nothing was compared yet: set SHADOW_SOURCES for the receiver, such as event-id,webhook-id", err=True
        )
    if not any(one["verdict"] == "safe" for one in told.get("candidates", [])):
        raise typer.Exit(1)


def _print(told: Mapping[str, Any], most: int) -> None:
    console = Console(emoji=False, highlight=False, markup=False, soft_wrap=True)
    skipped = f", {told['skipped']} more not looked at" if told["skipped"] else ""
    enforced = visible(",".join(told["enforced"]))
    console.print(f"since {told['since']} {told['seen']} deliveries, {told['duplicates']} duplicates{skipped}")
    console.print(f"enforced: {enforced}")
    columns = ("missing", *KINDS, "verdict")
    table = Table()
    table.add_column("candidate", overflow="fold")
    for column in columns:
        table.add_column(column)
    for one in told["candidates"]:
        counts = (str(one[name.replace(" ", "_")]) for name in columns[:-1])
        table.add_row(*map(Text, (visible(one["source"]), *counts, one["verdict"])))
    Console(emoji=False).print(table)
    for one in told["candidates"]:
        console.print(visible(f"{one['source']}: {one['verdict']}: {one['reason']}"))
        for kind, found in one["examples"].items():
            for example in found[:most]:
                _print_example(console, kind, example)
        if one["verdict"] in {"safe", "look"}:
            console.print(visible(f"  to enforce it: {one['promote']}"))


def _print_example(console: Console, kind: str, example: Mapping[str, Any]) -> None:
    console.print(visible(f"  {kind}: {example['second']} after {example['first']}"))
    if example["differences"] is None:
        console.print("    the payload of the first was not kept any more")
    elif not example["differences"]:
        console.print("    the same content")
    for one in example["differences"] or ():
        values = f": {one.get('first', 'nothing')} → {one.get('second', 'nothing')}" if len(one) > 1 else ""
        console.print(visible(f"    {one['path']}{values}"))
