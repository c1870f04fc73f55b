from random import Random

from hypothesis import given
from hypothesis import strategies as st

from examples.sender.http.message import Message
from examples.sender.play.disorder import Disorder, Due

SCHEDULE = [Due(float(number), Message("t", b"%d" % number)) for number in range(200)]
shares = st.floats(0, 1)


def test_without_disorder_the_schedule_stays_as_it_is() -> None:
    """Nothing is on by default."""
    due, counts = Disorder().of(SCHEDULE, Random(1))
    assert due == SCHEDULE
    assert not counts.total()


@given(shares, shares, shares, st.integers(0, 9), st.integers())
def test_what_suffered_is_counted_and_repeatable(
    duplicate: float, delay: float, drop: float, shuffle: int, seed: int
) -> None:
    """Sent is planned minus dropped plus duplicated, in the order of time; the same seed does the same."""
    disorder = Disorder(duplicate, delay, drop, shuffle)
    due, counts = disorder.of(SCHEDULE, Random(seed))
    assert len(due) == len(SCHEDULE) - counts["dropped"] + counts["duplicated"]
    assert [one.at for one in due] == sorted(one.at for one in due)
    assert len({one.message.body for one in due}) == len(SCHEDULE) - counts["dropped"]
    assert disorder.of(SCHEDULE, Random(seed)) == (due, counts)


def test_shuffled_events_stay_among_their_neighbours() -> None:
    """With 4 neighbours an event moves by no more than 4 places, and some do move."""
    due, counts = Disorder(shuffle=4).of(SCHEDULE, Random(2))
    moves = [abs(place - int(one.message.body)) for place, one in enumerate(due)]
    assert max(moves) <= 4
    assert counts["shuffled"] == sum(move > 0 for move in moves) > 0


def test_the_late_ones_come_late() -> None:
    """Delayed events and duplicates come after their time, within the limit."""
    due, _ = Disorder(duplicate=1, delay=1, late=3).of(SCHEDULE, Random(3))
    assert all(0 <= one.at - float(one.message.body) <= 6 for one in due)
