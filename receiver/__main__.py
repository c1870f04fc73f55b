"""`python -m receiver [serve]`, `url`, `explain`, `learn`, `keys`, `doctor`, `spool list|retry|drop|recover`."""

import asyncio
import gc
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

import structlog
import typer
import uvicorn
from pydantic import SecretStr
from rich.console import Console

from receiver import command, logs
from receiver.app import PATH, create_app
from receiver.command import AsJson
from receiver.doctor import report
from receiver.environment import SettingsError, load
from receiver.explain.command import explain
from receiver.learn.command import learn_from
from receiver.port.listening import address, base_url, listen, run
from receiver.port.protocol import GuardedProtocol
from receiver.settings import ReceiverSettings
from receiver.shadow.command import keys
from receiver.spool import commands as spool_commands
from receiver.visible import to_json, visible

app = typer.Typer(
    help="Receives Glartek's webhooks: answers 200 once a delivery is safely stored.", add_completion=False
)
app.add_typer(spool_commands.app, name="spool")
app.command()(explain)
app.command("learn")(learn_from)
app.command()(keys)


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        serve()


@app.command()
def serve(
    reload: Annotated[bool, typer.Option("--reload", help="Start again whenever your files or `.env` change.")] = False,
) -> None:
    """Run the receiver (the default command)."""
    if reload:
        from receiver.reload import run_again  # noqa: PLC0415 - who develops needs it, and no other start waits for it

        raise typer.Exit(run_again("receiver", "serve"))
    config = load(ReceiverSettings)
    logs.configure(config.log_format, config.log_level, "receiver")
    os.umask(0o077)  # the spool and the files beside it hold payloads: they are this user's alone
    application = create_app(config)
    gc.freeze()  # what is here now stays: the collector need not look at it again,
    gc.set_threshold(50_000, 20, 20)  # nor so often at requests, which leave no cycles; a tenth of the time went there
    for number in (signal.SIGINT, signal.SIGTERM):  # until the server runs
        signal.signal(number, lambda *_: sys.exit(0))
    with ExitStack() as listeners:
        listener = listeners.enter_context(listen(config.host, config.port))
        sockets = [listener]
        if config.health_port is not None:
            sockets.append(listeners.enter_context(listen(config.health_host, config.health_port, "HEALTH_")))
        log = structlog.get_logger()
        log.info("receiver listening", address=address(config.host, listener.getsockname()[1]))
        listeners.callback(log.info, "receiver stopped")
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                log_config=None,  # structlog's
                access_log=False,  # it would print the token
                server_header=False,
                date_header=False,
                proxy_headers=False,  # nobody asks who the sender is: the token says it
                loop="uvloop",
                http=GuardedProtocol,
                ws="none",
                timeout_graceful_shutdown=3,
            )
        )
        run(server, sockets)


@app.command()
def url(
    base: Annotated[
        str | None, typer.Option(help="Where Glartek reaches this receiver, such as https://hooks.example.com")
    ] = None,
) -> None:
    """Print the Endpoint URL to paste into Glartek (Settings > Webhooks > New Webhook), or this machine's own."""
    config = load(ReceiverSettings, redis_url=SecretStr("redis://unused"))
    base = base or base_url(config.host, config.port)
    parts = urlsplit(base)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(f"--base: expected https://host, optionally with a port and a path, got {base!r}")
    if parts.scheme == "http":
        typer.echo("the token travels in this URL: use https outside of this machine", err=True)
    typer.echo(base.rstrip("/") + PATH.format(token=config.webhook_token[0].get_secret_value()))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check this deployment: is a 200 a promise here? Exit code 1 when something is unsafe."""
    config = load(ReceiverSettings)
    findings = asyncio.run(report(config))
    if as_json:
        typer.echo(to_json([asdict(finding) for finding in findings]))
    else:
        colours = {"ok": "green", "warning": "yellow", "unsafe": "red"}
        console = Console(soft_wrap=True, highlight=False)
        for finding in findings:
            console.print(f"{finding.level:<8}", style=colours[finding.level], end="")
            said = f"{finding.check}: {finding.seen}{'; ' * bool(finding.mend)}{finding.mend}"
            console.print(f" {visible(said, 2000)}", markup=False)
    if any(finding.level == "unsafe" for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    command.run(app)
