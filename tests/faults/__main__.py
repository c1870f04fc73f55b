"""`python -m tests.faults`: proves, or disproves, that nothing acknowledged is lost."""

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from tests.faults.run import Order, run
from tests.faults.verdict import Verdict

HEAD = 5
"""Lines shown of each list of details."""


def main(
    seed: Annotated[int | None, typer.Option(help="Which faults, when; the same number, the same run.")] = None,
    seconds: Annotated[float, typer.Option(min=5, max=200, help="How long events are sent.")] = 120,
    rate: Annotated[float, typer.Option(min=1, max=200, help="Unique events a second.")] = 25,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    naive: Annotated[bool, typer.Option("--naive", help="Against a naive receiver, which loses events.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and data in this folder.")] = None,
) -> None:
    """Run two receivers, two workers and Valkey under kills, freezes, full memory, outages and lost connections.

    Two of the three handlers have a real effect: a row in the audit log, and an update of an external system that
    fails, loses answers and answers late. At the end these effects are compared with what the handlers did.
    """
    if keep and keep.exists() and any(keep.iterdir()):
        raise typer.BadParameter("expected a folder that is new or empty", param_hint="--keep")
    order = Order(random.randrange(10_000) if seed is None else seed, seconds, rate, naive)
    console = Console(stderr=True)
    console.print(f"seed {order.seed}: {seconds:g} s at {rate:g} events/s, then the drain", highlight=False)
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        verdict = uvloop.run(run(order, directory.resolve(), _progress(console)))
    print_json(order, verdict) if as_json else print_table(order, verdict)
    sys.exit(0 if verdict.holds else 1)


def _progress(console: Console) -> Callable[[str], None]:
    """One line that is rewritten on a terminal; one line for each fault elsewhere."""
    began = time.monotonic()

    def tell(what: str) -> None:
        line = f"{time.monotonic() - began:5.0f} s · {what}"
        if console.is_terminal:
            console.print(f"\r{line:<{min(console.width, 100) - 1}}", end="", highlight=False, markup=False)
        else:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    return tell


def print_table(order: Order, verdict: Verdict) -> None:
    """Print the ledger, as a table on a terminal, else as `name: value`; then broken promises with details."""
    console = Console()
    if console.is_terminal:
        table = Table("", "", title=f"ledger · seed {order.seed}", show_header=False)
        for name, value in verdict.numbers.items():
            table.add_row(name, str(value))
        console.print("", table)
    else:
        for name, value in verdict.numbers.items():
            console.print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)
    for name, lines in verdict.details.items() if verdict.broken else ():
        for line in lines[:HEAD]:
            console.print(f"  {name}: {line}", highlight=False, markup=False, soft_wrap=True)
    console.print("broken: " + "; ".join(verdict.broken) if verdict.broken else "all promises held", markup=False)


def print_json(order: Order, verdict: Verdict) -> None:
    report = {
        "seed": order.seed,
        "seconds": order.seconds,
        "rate": order.rate,
        "naive": order.naive,
        "holds": verdict.holds,
        "broken": verdict.broken,
        "ledger": verdict.numbers,
        "details": verdict.details,
    }
    typer.echo(json.dumps(report, indent=2))


if __name__ == "__main__":
    typer.run(main)
