"""How a command ends: a mistake is one line and exit code 2, output that cannot be written is no traceback."""

import errno
import sys
from contextlib import suppress

import typer

from receiver.environment import SettingsError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # typer itself ends in silence where the reader is gone


def run(app: typer.Typer) -> None:
    """Run the command that the process was started with."""
    try:
        app()
    except SettingsError as error:
        _end(2, *error.lines)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _end(1, f"cannot write: {error.strerror}")


def _end(code: int, *lines: str) -> None:
    with suppress(OSError):  # nobody reads them: the exit code still tells
        for line in lines:
            typer.echo(line, err=True)
    sys.exit(code)
