"""`python -m examples.handlers.external_system preview SAMPLE`: the exact request, before anything is sent."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from examples.handlers import external_system
from examples.handlers.external_system import request
from examples.handlers.external_system.target import Target, TargetRefused
from examples.handlers.external_system.target import load as load_target
from receiver import events
from receiver.content import Unreadable
from receiver.settings import ReceiverSettings, SettingsError, load
from receiver.visible import to_json, visible
from worker.event import parse
from worker.routes import name_of

app = typer.Typer(help="The external system: see what would be sent.", no_args_is_help=True)
_UNUSED: dict[str, Any] = {"redis_url": "redis://unused", "webhook_token": ("not-needed-to-preview-0123456789",)}
_AUTHORIZATION = {
    "bearer": ("authorization", "Bearer ***"),
    "basic": ("authorization", "Basic ***"),
    "oauth2": ("authorization", "Bearer *** (a token from {})"),
}


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
    try:
        settings = load(external_system.ExternalSettings, **({"external_url": url} if url else {}))
        chosen = load_target(target or settings.external_target)
        body = _body(sample)
        kit = load(ReceiverSettings, **_UNUSED)
        delivery = kit.sources().delivery({}, body, 0)
        key = f"{name_of(external_system.update)}:{delivery.id}"
        prepared = request.build(parse(body, kit), chosen, key)
    except (SettingsError, TargetRefused, Unreadable) as error:
        _stop(str(error))
    except request.Unmappable as error:
        _stop(f"{sample}: {error}")
    requests = _requests(prepared, chosen, settings.external_url)
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


def _requests(prepared: request.Prepared, target: Target, url: str) -> list[dict[str, Any]]:
    name, value = (target.auth.header, "***") if target.auth.header else _AUTHORIZATION.get(target.auth.kind, ("", ""))
    token_url = (target.auth.token_url or "").replace("{EXTERNAL_URL}", url)
    who = {name: value.format(token_url)} if name else {}
    found = []
    if prepared.lookup_path is not None:
        found.append({"method": "GET", "url": url + prepared.lookup_path, "headers": {**target.headers, **who}})
    headers = dict(prepared.headers)
    if target.csrf or target.if_match:
        fetch = {"x-csrf-token": "Fetch"} if target.csrf else {}
        found.append({"method": "GET", "url": url + prepared.path, "headers": {**target.headers, **fetch, **who}})
        headers |= {"x-csrf-token": "(from the GET)"} if target.csrf else {}
        headers |= {"if-match": "(the GET's ETag)"} if target.if_match else {}
    update = {"method": prepared.method, "url": url + prepared.path, "headers": {**headers, **who}}
    return [*found, {**update, "body": prepared.body}]


def _shown(found: dict[str, Any]) -> str:
    lines = [f"{found['method']} {found['url']}", *(f"{name}: {value}" for name, value in found["headers"].items())]
    lines = [visible(line, 5000) for line in lines]
    if "body" in found:
        lines += ["", to_json(found["body"])]
    return "\n".join(lines)


def _stop(line: str) -> NoReturn:
    typer.echo(visible(line, 1000), err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app(prog_name="python -m examples.handlers.external_system")
