"""What somebody meant who wrote a name that does not exist."""

import pytest

from receiver.nearest import nearest

TYPES = ["action.created", "work_order.created", "work_order.completed"]


@pytest.mark.parametrize(
    ("word", "possible", "said"),
    [
        ("action.craeted", TYPES, "; did you mean action.created?"),
        ("work_order.complete", TYPES, "; did you mean work_order.completed?"),
        ("3", TYPES, "; expected action.created, work_order.completed or work_order.created"),
        ("3", ["one"], "; expected one"),
        ("3", [], ""),
    ],
)
def test_what_is_like_the_word_or_all_that_there_is(word: str, possible: list[str], said: str) -> None:
    """One question with the likely name; without a likely one the list of all."""
    assert nearest(word, possible) == said
