"""Which dead letters belong together, and which are meant."""

from datetime import UTC, datetime, timedelta

import pytest

from receiver.environment import SettingsError
from worker.letter import MOST_GROUPS, OTHERS, DeadLetter, Filter, grouped, same_error

NOW = datetime.now(UTC)


def letter(number: int, reason: str, handler: str = "h.a", kind: str = "dead") -> DeadLetter:
    at = NOW - timedelta(seconds=number)
    return DeadLetter(f"{number:024x}:{handler}", kind, f"{number:024x}", handler, "action.created", reason, 1, at, at)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no Work Order WO-1042 there", "no Work Order WO-7 there"),
        ("ReadTimeout: no answer after 10.2 s", "ReadTimeout: no answer after 9 s"),
        ("unknown element 'Pump 7'", "unknown element 'Fan'"),
        ('bad "a"', 'bad "b c"'),
        ("id 3f0c2d3e-0000-4000-8000-0123456789ab", "id 00000000-0000-4000-8000-aaaaaaaaaaaa"),
        ("sha256 " + "a1" * 32, "sha256 " + "b2" * 32),
        ("10.0.0.1:6379 refused", "10.0.0.2:6380 refused"),
    ],
)
def test_what_differs_from_event_to_event_does_not_part_errors(one: str, other: str) -> None:
    """Ids, numbers, addresses and what is quoted are left out of an error."""
    assert same_error(one) == same_error(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("erp.example.com answered 503", "erp.example.com answered 400"),
        ("erp.example.com answered 503", "pager.example.com answered 503"),
        ("status: 404 for 7", "status: 410 for 7"),
        ("can't find it, don't retry", "can't read it, don't retry"),
    ],
)
def test_what_is_mended_elsewhere_is_another_error(one: str, other: str) -> None:
    """The status of an answer, the host and the words tell errors apart."""
    assert same_error(one) != same_error(other)


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


@pytest.mark.parametrize("words", [{"handlers": "x"}, {"older_than": "long"}, {"newer_than": "-1"}])
def test_a_filter_that_cannot_be_read_is_one_line(words: dict[str, str]) -> None:
    """It names the wrong word and says what was expected."""
    with pytest.raises(SettingsError, match="expected"):
        Filter.of(words)
