"""Paths into a payload: where a field is, as a customer writes it.

| path | what is there |
|---|---|
| `event.id` | a dotted path through objects, the usual case and the fast one |
| `"event.id".no` | the same with a name that has a dot in it, quoted as in JSON |
| `@` | the payload itself |
| `assignedUsers[]`, `tasks[?done].name`, `{id: userId, name: userName}` | any other JMESPath (jmespath.org) |

A path never fails on a payload: what it does not find is None.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Self

import jmespath
from jmespath.exceptions import JMESPathError

Find = Callable[[Any], Any]

_STEP = r"[^.\[\]|*?@&(){}`,<>=!'\"\s][^.\[\]|*?@&(){}`,<>=!\n\r\t]*"
DOTTED = re.compile(rf"{_STEP}(?:\.{_STEP})*")
"""A path of plain names; everything else is JMESPath."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Paths(tuple[str, ...]):  # noqa: SLOT001 - a tuple has no room for slots
    """Where one field may be: the first path that leads to a value counts. Raises ValueError for what is no path."""

    finders: tuple[Find, ...]

    def __new__(cls, paths: Iterable[str]) -> Self:
        new = super().__new__(cls, paths)
        new.finders = tuple(map(finder, new))
        return new

    def text(self, payload: Any) -> str | None:
        """The first non-empty string or number, as text.

        A missing or empty field is None, never an empty string: unrelated events would share it.
        """
        for find in self.finders:
            value = find(payload)
            if value is None:
                continue
            if isinstance(value, str) and (text := value.strip()):
                return text if text.isascii() else storable(text)
            if isinstance(value, int) and not isinstance(value, bool):
                return str(value)
        return None

    def found(self, payload: Any) -> Iterator[tuple[str, Any]]:
        """Each path that leads to a value, with the value."""
        for path, find in zip(self, self.finders, strict=True):
            if (value := find(payload)) is not None:
                yield path, value


def at_path(payload: Any, path: str) -> Any:
    """The value at a path in parsed JSON, or None when any step is missing."""
    return finder(path)(payload)


def first_text(payload: Any, paths: Iterable[str]) -> str | None:
    """What `Paths.text` finds, for paths that are used once."""
    return Paths(paths).text(payload)


def storable(text: str) -> str:
    """The text with a UTF-8 form, which Redis and databases need: half of a surrogate pair, which has none, escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def joined(steps: Iterable[str]) -> str:
    """The path through objects by these names, quoted where one of them needs it."""
    names = list(steps)
    dotted = ".".join(names)
    if DOTTED.fullmatch(dotted) and dotted.count(".") == len(names) - 1:
        return dotted
    return ".".join(name if _IDENTIFIER.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in names)


@lru_cache(maxsize=1024)
def finder(path: str) -> Find:
    """What finds the value at a path. Raises ValueError, in one line, for what is no path."""
    if DOTTED.fullmatch(path):
        first, *rest = path.split(".")
        return _through(first, rest) if rest else _of(first)
    if path == "@":
        return lambda payload: payload
    try:
        expression = jmespath.compile(path)
    except JMESPathError as error:
        reason = " ".join(str(error).split("\n", 1)[0].removesuffix(", for expression:").split())
        raise ValueError(f"expected a dotted path or JMESPath, got {path!r} ({reason})") from None
    return lambda payload: _searched(expression, payload)


def _of(name: str) -> Find:
    return lambda payload: payload.get(name) if isinstance(payload, dict) else None


def _through(first: str, rest: list[str]) -> Find:
    def find(payload: Any) -> Any:
        if not isinstance(payload, dict):
            return None
        payload = payload.get(first)
        for step in rest:
            if not isinstance(payload, dict):
                return None
            payload = payload.get(step)
        return payload

    return find


def _searched(expression: Any, payload: Any) -> Any:
    try:
        return expression.search(payload)
    except Exception:  # noqa: BLE001 - a function of JMESPath on a value that it is not made for: nothing is there
        return None
