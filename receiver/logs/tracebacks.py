"""A traceback without the texts of its errors, because an error's text may hold a payload or a credential."""

import traceback
from collections.abc import Iterator
from pathlib import Path

_FRAMES, _ERRORS, _LONGEST = 20, 8, 8000
"""Innermost frames of one error, errors of one failure, characters of a whole traceback."""


def trace(error: BaseException) -> str:
    """Files, lines, functions and types of errors; no source lines, no texts. The cause first, as Python prints it."""
    parts = []
    for one in reversed(list(chain(error))):
        lines = [f"  {line(*frame)}" for frame in frames(one)[-_FRAMES:]]
        parts.append("\n".join([*lines, type(one).__name__[:300]]))
    return "\n".join(parts)[-_LONGEST:]


def chain(error: BaseException) -> Iterator[BaseException]:
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


def frames(error: BaseException) -> list[tuple[str, int, str]]:
    """(file, line, function) of each frame, outermost first."""
    walked = traceback.walk_tb(error.__traceback__)
    return [(frame.f_code.co_filename, number, frame.f_code.co_name) for frame, number in walked]


def line(path: str, number: int, name: str) -> str:
    return f"{shown(path)}:{number} in {name}"[:500]


def shown(path: str) -> str:
    """A file as seen from the current folder, where it is in it."""
    return path.removeprefix(str(Path.cwd()) + "/")
