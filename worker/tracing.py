"""Where a handler failed: files, lines and functions, and never what was in its variables nor in an error's text."""

import traceback
from collections.abc import Iterator
from pathlib import Path

from worker.handling import is_library

_FRAMES, _ERRORS, _LONGEST = 20, 8, 8000
"""Of one error, the innermost; of one failure, with what caused it; characters of a whole trace."""
_KIT = tuple(str(Path(__file__).parent.parent / package) + "/" for package in ("receiver", "worker"))


def place(error: BaseException) -> str:
    """The deepest line that is neither the kit's nor a library's: `acme/handlers.py:12 in page`; "" without one.

    Of a handler whose time was up it is the line at which it waited: asyncio keeps that as the error's cause.
    """
    for one in _chain(error):
        for path, line, name in reversed(_frames(one)):
            if not is_library(path) and not path.startswith(_KIT):
                return _line(path, line, name)
    return ""


def trace(error: BaseException) -> str:
    """The traceback without its source lines and texts: what caused the error first, as Python prints it."""
    parts = []
    for one in reversed(list(_chain(error))):
        lines = [f"  {_line(*frame)}" for frame in _frames(one)[-_FRAMES:]]
        parts.append("\n".join([*lines, type(one).__name__[:300]]))
    return "\n".join(parts)[-_LONGEST:]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what is behind it: the errors of a group, its cause, or what was being handled."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _ERRORS:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        behind = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        waiting += [*(one.exceptions[:_ERRORS] if isinstance(one, BaseExceptionGroup) else ()), *filter(None, [behind])]


def _frames(error: BaseException) -> list[tuple[str, int, str]]:
    walked = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walked]


def _line(path: str, line: int, name: str) -> str:
    return f"{shown(path)}:{line} in {name}"[:500]


def shown(path: str) -> str:
    """A file as seen from the current folder, where it is in it."""
    return path.removeprefix(str(Path.cwd()) + "/")
