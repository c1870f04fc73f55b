"""`python -m tests.bench`: how fast the kit is, beside what else there is, in one run on one machine."""

import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import chart, console, contenders, counting, load, receiver, report, sizing, worker
from tests.bench.book import Book
from tests.bench.processes import BenchError
from tests.bench.receiver import Bench

HERE = Path(__file__).parent
PAGE, CHART, FIGURES = HERE / "README.md", HERE / "chart.svg", HERE / "figures.json"
MEASURES: dict[str, Callable[[Bench], None]] = {
    measure.__name__: measure
    for measure in (
        receiver.accepting,
        receiver.answering,
        counting.counting,
        worker.starting,
        worker.idle,
        worker.draining,
        worker.same_work,
        worker.carrying,
        receiver.crowded,
        receiver.large,
        console.watched,
        worker.lasting,
        sizing.sizing,
    )
}
BUSY = 0.5
"""Load average above which the figures say more about the machine's other work than about the kit."""


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"A measure ({', '.join(MEASURES)}); repeatable.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="How long each sample is.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="How often each contender has its turn.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    full: Annotated[bool, typer.Option("--full", help="A million events, two million keys: half an hour.")] = False,
    python: Annotated[str, typer.Option(help="Another interpreter to run the kit with, beside this one.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Put the figures on the page, and draw the chart.")] = False,
) -> None:
    """Measure the kit beside a bare endpoint, the textbook, and Fastify with BullMQ."""
    terminal = Console(stderr=True, highlight=False)
    unknown = sorted({*(only or ())} - {*MEASURES})
    if unknown or (write and only):
        wrong = f"--only {unknown[0]}: expected {', '.join(MEASURES)}" if unknown else "--write takes every measure"
        terminal.print(wrong, markup=False)
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process of ours is stopped
    if not shutil.which("wrk"):
        terminal.print(load.GET_WRK, markup=False)
    begun, busy = time.monotonic(), os.getloadavg()[0]
    if busy > BUSY:
        terminal.print(f"load average {busy:.2f}: this machine is busy, trust no figure of this run", markup=False)
    book = Book()
    try:
        other = contenders.python_at(python) if python else None
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            tell = _progress(terminal)
            if why_not := contenders.why_not_bullmq():
                tell(f"without Fastify + BullMQ: {why_not}")
            bench = Bench(Path(directory), book, seconds, rounds, full, not why_not, other, tell)
            for name in only or MEASURES:
                tell(name)
                gc.collect()
                os.sync()  # the next measure's appends must not wait for what the last one wrote
                MEASURES[name](bench)
    except BenchError as error:
        terminal.print(str(error), markup=False)
        sys.exit(1)
    setting = {
        "load average before": f"{busy:.2f}",
        "rounds": f"{rounds} of {seconds:g} s",
        "events": "full" if full else "scaled down",
        "load": "wrk" if shutil.which("wrk") else "storm",
        **({"other Python": other.version} if other else {}),
        "took": f"{time.monotonic() - begun:.0f} s",
    }
    _publish(report.Report.of(book, setting), json_file, write=write)


def _publish(found: report.Report, json_file: Path | None, *, write: bool) -> None:
    report.show(found, Console())
    if json_file:
        report.write_json(found, json_file)
    if write:
        report.write_json(found, FIGURES)
        report.write_page(found, PAGE)
        CHART.write_text(chart.draw(found.book), encoding="utf-8")


def _progress(terminal: Console) -> Callable[[str], None]:
    begun = time.monotonic()

    def tell(what: str) -> None:
        terminal.print(f"{time.monotonic() - begun:5.0f} s · {what}", markup=False, soft_wrap=True)

    return tell


if __name__ == "__main__":
    typer.run(main)
