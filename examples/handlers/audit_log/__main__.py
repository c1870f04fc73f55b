"""`python -m examples.handlers.audit_log verify | export | head`: the log, read."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.engine import Engine

from examples.handlers import audit_log
from examples.handlers.audit_log import database
from examples.handlers.audit_log.verify import Report, rows, verify
from receiver.settings import SettingsError, load

app = typer.Typer(help="The audit log: verify it, export it, or note its head.", no_args_is_help=True)
_errors = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="For a program to read.")]


def _head(text: str | None) -> database.Head | None:
    if text is None:
        return None
    seq, _, digest = text.partition(":")
    if not seq.isdecimal() or len(digest) != 64:  # noqa: PLR2004 - SHA-256 in hex
        raise typer.BadParameter("expected SEQ:HASH as `head` prints it")
    return database.Head(int(seq), digest)


def _engine() -> Engine:
    try:
        return audit_log.opened(load(audit_log.AuditSettings))
    except SettingsError as error:
        _errors.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


@app.command("verify")
def verify_command(
    *,
    expect_head: Annotated[
        str | None, typer.Option(metavar="SEQ:HASH", help="A head noted earlier: shows a tail cut off since.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read the whole log and say whether it is what was written. Exit code 1 when it is not."""
    expected = _head(expect_head)
    engine = _engine()
    last = database.head(engine)
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("verifying", total=last.seq if last else 0)
        report = verify(rows(engine), expected, lambda done: bar.update(task, completed=done))
    engine.dispose()
    _print_report(report, as_json=as_json)
    raise typer.Exit(0 if report.intact else 1)


def _print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "intact": report.intact,
                    "rows": report.rows,
                    "head": str(report.head) if report.head else None,
                    "problems": [{"seq": problem.seq, "what": problem.what} for problem in report.problems],
                }
            )
        )
        return
    for problem in report.problems:
        typer.echo(problem.what)
    state = "intact" if report.intact else "NOT intact"
    typer.echo(f"{state}: {report.rows} rows, head {report.head or 'none, the log is empty'}")


@app.command("head")
def head_command(*, as_json: Json = False) -> None:
    """Print the last row's place and hash: keep it elsewhere, and give it to `verify --expect-head`."""
    engine = _engine()
    last = database.head(engine)
    engine.dispose()
    if as_json:
        typer.echo(json.dumps({"seq": last.seq if last else 0, "hash": last.hash if last else None}))
    else:
        typer.echo(str(last) if last else "the log is empty")


@app.command("export")
def export_command(
    *,
    to: Annotated[Path | None, typer.Option("--to", help="The file to write; otherwise standard output.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only this event type.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this Work Order or Action, by its id.")] = None,
) -> None:
    """Write the rows as JSON Lines, in order, a chunk at a time."""
    conditions: list[sa.ColumnElement[bool]] = []
    if event_type is not None:
        conditions.append(database.TABLE.c.event_type == event_type)
    if subject is not None:
        conditions.append(database.TABLE.c.subject_id == subject)
    engine = _engine()
    try:
        with to.open("w", encoding="utf-8") if to else nullcontext(sys.stdout) as out:
            for row in rows(engine, *conditions):
                out.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
    except OSError as error:
        _errors.print(f"cannot write {to}: {error.strerror}", style="red", highlight=False, markup=False)
        raise typer.Exit(2) from None
    finally:
        engine.dispose()


if __name__ == "__main__":
    app(prog_name="python -m examples.handlers.audit_log")
