"""`python -m receiver spool`: deliveries that wait on this host's disk, those set aside, and damaged files."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from receiver import logs
from receiver.command import AsJson
from receiver.environment import SettingsError, load
from receiver.intake import Intake
from receiver.queue.connection import connect
from receiver.queue.keys import Keys
from receiver.settings import ReceiverSettings, SpoolSettings
from receiver.spool import Spool, SpoolError, recover
from receiver.spool.drain import ROW_TIMEOUT
from receiver.spool.overview import Overview, overview
from receiver.visible import to_json, visible

T = TypeVar("T")
app = typer.Typer(
    help="Deliveries that wait on this host's disk, those set aside, and damaged files.", no_args_is_help=True
)
Numbers = Annotated[list[int], typer.Argument(help="Numbers of deliveries set aside, as `list` shows them.")]
RETRY_TIMEOUT = 2 * ROW_TIMEOUT
"""Seconds for one delivery: more than the drain allows, because an operator asked for it."""


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Show waiting deliveries, those set aside because Redis could not store them, and damaged files."""
    config = _settings()
    found = overview(config.spool_path)
    if as_json:
        typer.echo(to_json(_as_json(found)))
        return
    console = Console(soft_wrap=True, highlight=False)
    age = f", the oldest for {time.time() - found.oldest:.0f} s" if found.oldest else ""
    console.print(f"waiting: {found.waiting}{age}", markup=False)
    console.print(f"set aside: {len(found.aside)}", markup=False)
    if found.aside:
        table = Table("number", "delivery", "bytes", "tries", "reason")
        for one in found.aside:
            cells = (str(one.number), visible(one.delivery), str(one.bytes), str(one.tries), visible(one.reason))
            table.add_row(*map(Text, cells))
        console.print(table)
    console.print(f"damaged files: {len(found.damaged)}", markup=False)
    for path in found.damaged:
        console.print(f"  python -m receiver spool recover {path}", markup=False)
    if found.trouble:
        console.print(f"trouble: {visible(found.trouble)}", markup=False)


@app.command()
def retry(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers, as `list` shows them; none for all.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Retry deliveries that were set aside, up to a minute each. Exit code 1 if one could not be stored."""
    config = load(ReceiverSettings)
    wanted = numbers or [one.number for one in overview(config.spool_path).aside]
    results = asyncio.run(_retry(config, wanted, is_quiet=as_json))
    if as_json:
        typer.echo(to_json([{"number": number, "error": error} for number, error in results.items()]))
    else:
        for number, error in results.items():
            typer.echo(f"{number}: {visible(error) or 'stored'}")
    if any(results.values()):
        raise typer.Exit(1)


@app.command()
def drop(numbers: Numbers, *, as_json: AsJson = False) -> None:
    """Delete deliveries that were set aside. They will not be handled. With a wrong number none is deleted."""
    path = _settings().spool_path
    there = {one.number for one in overview(path).aside}
    for number in numbers:
        if number not in there:
            raise SettingsError(f"{number}: expected a number as `python -m receiver spool list` shows them")

    async def work(spool: Spool) -> list[dict[str, Any]]:
        rows = [(number, await spool.take_aside(time.time(), number)) for number in numbers]
        for _, row in rows:
            if row is not None:
                await spool.forget_aside(row)
        return [{"number": number, "dropped": row is not None} for number, row in rows]

    dropped = asyncio.run(_with_spool(path, work))
    if as_json:
        typer.echo(to_json(dropped))
        return
    for one in dropped:
        typer.echo(f"{one['number']}: {'dropped' if one['dropped'] else 'was gone already'}")


@app.command("recover")
def recover_(
    file: Annotated[Path, typer.Argument(help="A damaged file, such as spool.db.damaged-20261126T002359Z.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write the readable rows of a damaged file into the spool. Exit code 1 if some rows cannot be read."""
    path = _settings().spool_path
    if not file.is_file() or file.resolve() == path.resolve():
        raise SettingsError(f"{file}: expected a damaged spool file; `python -m receiver spool list` shows those kept")
    try:
        report = asyncio.run(_with_spool(path, lambda spool: _recover(file, spool, is_quiet=as_json)))
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}; expected room beside it, and permission to read it") from None
    except sqlite3.Error as error:
        rescued = file.with_name("rescued.db")
        raise SettingsError(
            f"{file}: its table cannot be found ({error}); try SQLite's own tool, then recover what that has found:",
            f"  sqlite3 {file} .recover | sqlite3 {rescued}",
            f"  python -m receiver spool recover {rescued}",
        ) from None
    if as_json:
        typer.echo(to_json({**report._asdict(), "kept": str(report.kept)}))
    else:
        lost = f"; {report.unreadable} could not be read" if report.unreadable else ""
        typer.echo(f"{report.brought_back} brought back{lost}; the file is kept as {report.kept}")
    if report.unreadable:
        raise typer.Exit(1)


def _recover(file: Path, spool: Spool, *, is_quiet: bool) -> Awaitable[recover.Report]:
    console = Console(stderr=True)
    return recover.bring_back(
        file, spool, lambda numbers: track(list(numbers), "recovering", console=console, disable=is_quiet)
    )


async def _retry(config: ReceiverSettings, numbers: list[int], *, is_quiet: bool) -> dict[int, str]:
    redis = connect(config.redis_url.get_secret_value(), timeout=RETRY_TIMEOUT, retries=0)

    async def work(spool: Spool) -> dict[int, str]:
        drain = Intake(redis, redis, Keys(config.key_prefix), spool, config.wait_replicas).drain
        results = {}
        for number in track(numbers, "retrying", console=Console(stderr=True), disable=is_quiet or not numbers):
            row = await spool.take_aside(time.time(), number)
            results[number] = await drain.try_again(row, RETRY_TIMEOUT) if row else "is not set aside (any more)"
        return results

    try:
        return await _with_spool(config.spool_path, work)
    finally:
        await redis.aclose()


async def _with_spool(path: Path, work: Callable[[Spool], Awaitable[T]]) -> T:
    logs.configure("auto", "warning", "receiver", streams=logs.OF_COMMAND)
    try:
        spool = Spool(path)
    except SpoolError as error:
        raise SettingsError(f"SPOOL_PATH: {error}") from None
    try:
        return await work(spool)
    except SpoolError as error:
        raise SettingsError(str(error)) from None
    finally:
        await spool.close()


def _settings() -> SpoolSettings:
    return load(SpoolSettings)


def _as_json(found: Overview) -> dict[str, Any]:
    return {
        "waiting": found.waiting,
        "oldest": found.oldest,
        "set_aside": [one._asdict() for one in found.aside],
        "damaged": list(map(str, found.damaged)),
        "trouble": found.trouble,
    }
