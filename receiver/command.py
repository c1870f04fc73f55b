"""How a command ends: wrong input gives one line and exit code 2, output that cannot be written gives no traceback."""

import errno
import sys
from contextlib import suppress

import typer

from receiver.environment import SettingsError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a closed pipe is handled by typer


def run(app: typer.Typer) -> None:
    """Run the command line of this process."""
    try:
        app()
    except SettingsError as error:
        _end(2, *error.lines)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _end(1, f"cannot write: {error.strerror}")


def _end(code: int, *lines: str) -> None:
    with suppress(OSError):  # stderr is closed or full: the exit code is left
        for line in lines:
            typer.echo(line, err=True)
    sys.exit(code)
