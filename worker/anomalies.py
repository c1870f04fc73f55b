"""The commands that tell what is odd about what arrives: `python -m worker doubtful`, `gaps`, `drift`."""

from typing import Annotated, Any

import typer
from arq.connections import ArqRedis

from receiver.command import AsJson
from receiver.environment import SettingsError, duration
from receiver.queue.keys import Keys
from receiver.visible import to_json
from worker import anomaly_reports, ids
from worker import doubtful as doubts
from worker import drift as drifts
from worker import gaps as missing
from worker.command import with_redis

doubtful = typer.Typer(help="Duplicates that were dropped by their content alone: are they events of their own?")


@doubtful.command("list")
def doubtful_list(*, as_json: AsJson = False) -> None:
    """List the last ones, oldest first: 1000 and 8 MiB at most, for 7 days after the last."""
    found = with_redis(doubts.listed)
    if as_json:
        typer.echo(to_json(found))
    else:
        anomaly_reports.print_doubtful(found)


@doubtful.command("replay")
def doubtful_replay(
    names: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, as `doubtful list` shows them.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say that these were events of their own, and run each as a delivery of its own, once.

    Exit code 1 when the payload of one is no longer kept.
    """

    async def act(redis: ArqRedis, keys: Keys) -> dict[str, Any]:
        known = {one.id: one for one in await doubts.noted(redis, keys)}
        meant = {name: ids.the_one(name, known) for name in names}
        if unknown := [name for name, found in meant.items() if found is None]:
            advice = "no such duplicate is noted; `python -m worker doubtful list` shows them"
            raise SettingsError(*(f"{name}: {advice}" for name in unknown))
        return {found: await doubts.run(redis, keys, known[found]) for found in meant.values() if found}

    done = with_redis(act)
    if as_json:
        typer.echo(to_json(done))
    else:
        gone = "its payload is no longer kept (KEEP_PAYLOADS, KEEP_PAYLOADS_BYTES)"
        for name, delivery in done.items():
            typer.echo(f"{name}: {f'runs as delivery {delivery}' if delivery else gone}")
    if not all(done.values()):
        raise typer.Exit(1)


def gaps(
    *,
    settle: Annotated[
        str,
        typer.Option(help="What came so soon after remembering began is too early to tell: it may have begun before."),
    ] = "7d",
    as_json: AsJson = False,
) -> None:
    """Tell of Work Orders completed that were never created or started, and of Actions solved or can't be done
    that were never seen.

    As far as is remembered (REMEMBER_EVENTS). Exit code 1 when there are any.
    """
    seconds = _seconds("--settle", settle)
    told = with_redis(lambda redis, keys: missing.told(redis, keys, seconds))
    if as_json:
        typer.echo(to_json(told))
    else:
        anomaly_reports.print_gaps(told)
    if told["gaps"]:
        raise typer.Exit(1)


def drift(
    *,
    last: Annotated[str, typer.Option(help="Only what has changed in this time.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Tell which fields have appeared or vanished in the payloads of each type, with a redacted example.

    Exit code 1 when there are any.
    """
    seconds = _seconds("--last", last)
    told = with_redis(lambda redis, keys: drifts.told(redis, keys, seconds))
    if as_json:
        typer.echo(to_json(told))
    else:
        anomaly_reports.print_drift(told)
    if any(one["appeared"] or one["vanished"] for one in told):
        raise typer.Exit(1)


def _seconds(option: str, given: str) -> float:
    try:
        seconds: float = duration(given)
    except ValueError as error:
        raise SettingsError(f"{option}: {error}, got {given!r}") from None
    return seconds
