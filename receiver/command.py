"""How a command reaches Redis and ends: wrong input is one line and exit code 2, unwritable output no traceback."""

import asyncio
import errno
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from arq.connections import ArqRedis

from receiver.environment import SettingsError, load
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.settings import Settings

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {*_NO_ROOM, errno.EPIPE}  # a closed pipe is handled by typer


def run(app: typer.Typer) -> None:
    """Run the command line of this process."""
    for name, mode in (("stdin", "r"), ("stdout", "w")):
        if getattr(sys, name) is None:  # it was started without one, `<&-`: as if nothing were in it
            stream = Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
            setattr(sys, name, stream)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # `João` on a terminal that has ASCII only
    try:
        app()
    except SettingsError as error:
        _end(2, *error.lines)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _end(1, f"cannot write: {error.strerror}")


def confirmed(question: str, otherwise: str) -> bool:
    """Whether somebody says yes. Raises `SettingsError` where nobody can be asked; `otherwise` is what is not done."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        if sys.stdin.isatty():  # Ctrl-C
            raise
        typer.echo(err=True)  # ends the line of the question
        raise SettingsError(f"{otherwise}; --yes does it without a question") from None


def no_redis(error: Exception) -> SettingsError:
    """What is to be said of one of `REDIS_ERRORS`: Redis may be away, or refuse the password of the URL."""
    return SettingsError(f"REDIS_URL: Redis cannot be used ({error}); is it running, and is the URL right?")


def with_redis(act: Callable[[ArqRedis], Awaitable[T]]) -> T:
    """What `act` makes of Redis. Raises `SettingsError` with one line when Redis is away."""
    url = load(Settings).redis_url.get_secret_value()

    async def connected() -> T:
        redis = connect(url)
        try:
            return await act(redis)
        except REDIS_ERRORS as error:
            if isinstance(error, OSError) and error.errno in _UNWRITABLE:  # what `act` prints, not what it reads
                raise
            raise no_redis(error) from None
        finally:
            await redis.aclose()

    return asyncio.run(connected())


def _end(code: int, *lines: str) -> None:
    with suppress(OSError):  # stderr is closed or full: the exit code is left
        for line in lines:
            typer.echo(line, err=True)
    sys.exit(code)
