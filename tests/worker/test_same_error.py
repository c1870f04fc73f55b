"""Which failures are the same error."""

import pytest

from worker.same_error import same_error


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
