"""Where a handler failed: files, lines and functions, and never what was in its variables nor in an error's text."""

from pathlib import Path

from receiver.logs.tracebacks import chain, frames, line, shown, trace
from worker.handling import is_library

__all__ = ["place", "shown", "trace"]
_KIT = tuple(str(Path(__file__).parent.parent / package) + "/" for package in ("receiver", "worker"))


def place(error: BaseException) -> str:
    """The deepest line that is neither the kit's nor a library's: `acme/handlers.py:12 in page`; "" without one.

    Of a handler whose time was up it is the line at which it waited: asyncio keeps that as the error's cause.
    """
    for one in chain(error):
        for path, number, name in reversed(frames(one)):
            if not is_library(path) and not path.startswith(_KIT):
                return line(path, number, name)
    return ""
