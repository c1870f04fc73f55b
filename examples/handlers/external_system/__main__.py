"""`python -m examples.handlers.external_system preview SAMPLE`: the exact requests, before anything is sent."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from examples.handlers import external_system
from examples.handlers.external_system import unsent
from examples.handlers.external_system.settings import ExternalSettings, prepare
from examples.handlers.external_system.target import Unmappable
from receiver import events
from receiver.content import Unreadable
from receiver.environment import SettingsError, load
from receiver.payload_settings import PayloadSettings
from receiver.visible import to_json, visible
from worker.event import parse
from worker.handler import name_of

app = typer.Typer(help="The external system: see what would be sent.", no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Keep `preview` a command of its own even while it is the only one."""


@app.command()
def preview(
    sample: Annotated[str, typer.Argument(help="An event type such as work_order.completed, a file, or -.")],
    *,
    target: Annotated[str | None, typer.Option(help="A target, instead of EXTERNAL_TARGET.")] = None,
    url: Annotated[str | None, typer.Option(help="A base URL, instead of EXTERNAL_URL.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """Print the requests that this event would cause, in order, secrets left out."""
    given = {"external_url": url, "external_target": target}
    try:
        link = prepare(load(ExternalSettings, **{name: value for name, value in given.items() if value}), shown=True)
        kit = load(PayloadSettings)
        body = _body(sample)
        key = f"{name_of(external_system.update)}:{kit.idempotency_rule().delivery({}, body, 0).id}"
        requests = asyncio.run(unsent.requests(parse(body, kit), link, key))
    except (SettingsError, Unreadable) as error:
        _stop(str(error))
    except Unmappable as error:
        _stop(f"{sample}: {error}")
    if as_json:
        typer.echo(to_json(requests))
        return
    typer.echo("\n\n".join(map(_shown, requests)))


def _body(sample: str) -> bytes:
    if sample == "-":
        return sys.stdin.buffer.read()
    if (known := events.BY_NAME.get(events.canonical(sample))) is not None:
        return json.dumps(known.sample()).encode()
    try:
        return Path(sample).read_bytes()
    except OSError as error:
        _stop(
            f"{sample}: cannot read it: {os.strerror(error.errno or 0)}; "
            f"expected a file, - or one of {', '.join(events.BY_NAME)}"
        )


def _shown(found: dict[str, Any]) -> str:
    lines = [f"{found['method']} {found['url']}", *(f"{name}: {value}" for name, value in found["headers"].items())]
    body = ["", to_json(found["body"])] if "body" in found else []
    return "\n".join([*(visible(line, 2000) for line in lines), *body])


def _stop(line: str) -> NoReturn:
    typer.echo(visible(line), err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app(prog_name="python -m examples.handlers.external_system")
