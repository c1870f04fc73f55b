"""python -m examples.sender: list | send | all | lifecycle | storm | listen | replay | scenario | check | profile."""

import signal
import sys

import typer

from examples.sender import terminal
from examples.sender.commands import check, lifecycle, listen, profile, replay, scenario, send, storm
from examples.sender.commands.options import STOPPED
from examples.sender.terminal import Refusal

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
app.command("list")(send.list_types)
app.command("send")(send.send)
app.command("all")(send.send_all)
app.command("lifecycle")(lifecycle.lifecycle)
app.command("storm")(storm.storm)
app.command("listen")(listen.listen)
app.command("replay")(replay.replay)
app.command("scenario")(scenario.scenario_command)
app.command("check")(check.check)
app.command("profile")(profile.profile)


@app.callback()
def sender() -> None:
    """Play Glartek: send its webhook events to a receiver, check any receiver, profile any sender."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 for success, 1 if something failed, 2 for wrong usage."""
    try:
        return app(arguments, prog_name="python -m examples.sender", standalone_mode=False) or 0
    except Refusal as refusal:
        terminal.complain(terminal.without_urls_secrets(str(refusal)))
    except typer.TyperException as mistake:
        terminal.complain(terminal.without_urls_secrets(mistake.format_message()))
    except (KeyboardInterrupt, typer.Abort):
        return STOPPED
    return 2


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # end as with Ctrl-C
    sys.exit(main())
