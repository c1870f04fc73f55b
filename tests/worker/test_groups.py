"""Which dead letters belong together."""

from datetime import UTC, datetime, timedelta

from worker.groups import MOST_GROUPS, OTHERS, grouped
from worker.letter import DeadLetter, Filter

NOW = datetime.now(UTC)


def letter(number: int, reason: str, handler: str = "h.a", kind: str = "dead") -> DeadLetter:
    at = NOW - timedelta(seconds=number)
    return DeadLetter(f"{number:024x}:{handler}", kind, f"{number:024x}", handler, "action.created", reason, 1, at, at)


def test_groups_are_of_one_handler_and_one_error() -> None:
    """The largest first, with when it was seen first and last and the newest as the example."""
    letters = [letter(number, f"no element {number}") for number in range(3)]
    letters += [letter(9, "no element 9", "h.b"), letter(8, "other")]
    groups = grouped(letters)
    assert [(group.handler, group.error, group.count) for group in groups] == [
        ("h.a", "no element #", 3),
        ("h.a", "other", 1),
        ("h.b", "no element #", 1),
    ]
    assert (groups[0].first, groups[0].last, groups[0].example) == (letters[2].at, NOW, letters[0].id)
    assert Filter.of({"group": groups[0].id}).matches(letters[1])
    assert not Filter.of({"group": groups[0].id}).matches(letters[3])


def test_groups_have_a_bound() -> None:
    """Reasons come from outside: what is in none of the first thousand groups is counted together."""
    letters = [letter(number, f"{'x' * (number % 60)} {'y' * (number // 60)}") for number in range(MOST_GROUPS + 50)]
    groups = grouped(letters)
    assert len(groups) == MOST_GROUPS + 1
    assert (groups[0].id, groups[0].count) == (OTHERS, 50)
