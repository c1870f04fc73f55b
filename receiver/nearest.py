"""What somebody meant who wrote a name that does not exist: the same words in every message."""

import difflib
from collections.abc import Iterable


def nearest(word: str, possible: Iterable[str]) -> str:
    """`; did you mean A?` with the name that is most like the word; `; expected A, B or C` if none is like it.

    Empty if no name is possible.
    """
    names = sorted(possible)
    if like := difflib.get_close_matches(word, names, n=1):
        return f"; did you mean {like[0]}?"
    *others, last = names or [""]
    return f"; expected {', '.join(others)} or {last}" if others else f"; expected {last}" if last else ""
