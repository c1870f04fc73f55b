"""`make run`: everything on one machine until Ctrl-C, with its data in `.data/`.

What is set in the environment or in `.env` is used; what is not is brought along. Whatever dies is started again.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from receiver.environment import SettingsError, env_file, load, read_env_file
from receiver.queue.valkey import ServerError
from receiver.reload import Changes
from receiver.secret_files import SecretFileError, value_in
from worker.everything import everything, is_here
from worker.processes import Running
from worker.settings import UpSettings

WRONG_SETTING = 2
"""The exit code for a setting that is wrong, or leads to what is not there (an audit database that is away)."""
_SENDER = "examples.sender"
_BROUGHT_SECRETS = ("REDIS_URL", "WEBHOOK_TOKEN", "TEAMS_WEBHOOK_URL", "AUDIT_DATABASE_URL")


def _supervise(running: Running, changes: Changes) -> None:
    """Start again whatever dies or has changed, until asked to stop, or until `.env` has changed.

    All of it ran with these settings, so it will again.
    """
    pause = 0.2
    while not changes.stopped:
        changed = changes.wait(pause)
        if str(env_file()) in changed:
            typer.echo(f"{env_file()} changed: everything starts again", err=True)
            return
        if changed:
            _restart(running, changed)
        pause = 0.2
        try:
            if running.server is not None and running.server.ensure():
                typer.echo("Valkey had died and was started again", err=True)
        except ServerError as error:  # such as a full disk: the receiver has its spool meanwhile, or a 503
            typer.echo(str(error), err=True)
            pause = 5
        for name, code in running.dead().items():
            typer.echo(f"{name} had died ({code}) and was started again", err=True)
            running.start(name)
            pause = 5 if code == WRONG_SETTING else 1  # what it needs at its start is away


def _restart(running: Running, changed: Sequence[str]) -> None:
    """Start the worker again with the customer's new code; receiver and console only when it is about their own.

    All three read the payload map; the console masks by it.
    """
    names, has_map = ["worker"], any(name.endswith(".toml") for name in changed)
    if has_map or any(name.startswith("receiver/") for name in changed):
        names.insert(0, "receiver")
    if has_map or any(name.startswith(("receiver/", "worker/")) for name in changed):
        names.append("console")
    typer.echo(f"{', '.join(changed)} changed: {' and '.join(names)} start again", err=True)
    running.restart(names)


def _greet(running: Running) -> None:
    typer.echo(f"\nEndpoint URL for Glartek (Settings > Webhooks > New Webhook):\n\n    {running.url}\n")
    if running.base.startswith("http://"):
        command = f"{_python()} -m receiver url --base https://your.host"
        typer.echo(f"Glartek must reach it: put HTTPS in front, then `{command}`.")
    for name in running.stand_ins:
        arrived = f"{running.sink}/recorded/{name.partition('_')[0].lower()}"
        typer.echo(f"{name} is not set: a stand-in takes its place; {arrived} shows what arrives there.")
    typer.echo(f"Console, for this machine only: {running.console}")
    if is_here(_SENDER):
        typer.echo(f"Try it: {_python()} -m {_SENDER} all --to {running.url}")
    typer.echo("Ctrl-C stops everything.\n")
    sys.stdout.flush()


def _python() -> str:
    """The Python as somebody in this folder types it: in a virtual environment that nobody has activated, its path."""
    own = Path(sys.executable)
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else "python"


def main() -> None:
    """Run everything until SIGINT or SIGTERM."""
    os.umask(0o077)  # deliveries and the token are this user's alone, whichever process writes them
    changes = Changes()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: changes.stop())
    ran = False
    while not changes.stopped:
        try:
            given = {**read_env_file(), **os.environ}
            settings = {name: value.strip() for name, value in given.items() if value.strip()}  # as `load` reads them
            with everything(load(UpSettings).data_dir, settings | _in_files(settings)) as running:
                ran = True
                _greet(running)
                _supervise(running, changes)
        except (SettingsError, SecretFileError, ServerError) as error:
            _wait_for_better(str(error), changes, ran=ran)
        except OSError as error:
            line = f"{error.filename}: {error.strerror}; mend its permissions, or set DATA_DIR"
            _wait_for_better(line, changes, ran=ran)


def _in_files(settings: Mapping[str, str]) -> dict[str, str]:
    """Those secrets whose `NAME_FILE` is set: they are set as well, and need not be brought along."""
    files = {name: settings.get(f"{name}_FILE") for name in _BROUGHT_SECRETS if name not in settings}
    values = {name: value_in(f"{name}_FILE", path) for name, path in files.items() if path}
    return {name: value for name, value in values.items() if value}


def _wait_for_better(line: str, changes: Changes, *, ran: bool) -> None:
    """Say what is wrong: at the first start that is the end, later the next change is waited for."""
    typer.echo(line, err=True)
    if not ran:
        sys.exit(WRONG_SETTING)
    typer.echo("waiting for you to mend it", err=True)
    changes.wait()


if __name__ == "__main__":
    main()
