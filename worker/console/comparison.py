"""Two payloads beside each other: what a conflict's two events differ in."""

import difflib
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

MOST_LINES = 600
"""Lines of each payload that are compared."""


class Line(NamedTuple):
    """A line of a comparison; `same` is how many are left out, because they are alike."""

    left: str = ""
    right: str = ""
    differs: bool = False
    same: int = 0


def side_by_side(left: Sequence[str], right: Sequence[str]) -> list[Line]:
    """What differs in two payloads, beside each other, with three lines before and after it."""
    left, right = left[:MOST_LINES], right[:MOST_LINES]
    rows: list[Line] = []
    shown = 0
    for group in difflib.SequenceMatcher(None, left, right).get_grouped_opcodes(3):
        rows += _left_out(group[0][1] - shown)
        for tag, at, until, at_right, until_right in group:
            here, there = left[at:until], right[at_right:until_right]
            rows += [Line(*pair, tag != "equal") for pair in zip_longest(here, there, fillvalue="")]
        shown = group[-1][2]
    return rows + _left_out(len(left) - shown)


def _left_out(count: int) -> list[Line]:
    return [Line(same=count)] if count else []
