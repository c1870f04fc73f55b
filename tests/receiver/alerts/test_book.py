"""What is told, when, and how often."""

import json

import pytest

from receiver.alerts.book import LONGEST, MOST, Book
from receiver.alerts.troubles import Rising, Trouble

AWAY = Trouble("GlartekNoWorker", "No worker is alive.", after=60)
NOW = 1_000_000.0
OVER_AFTER = 300.0


def told(book: Book, troubles: list[Trouble], at: float) -> list[str]:
    return ["over" if one.is_over else one.name for one in book.step(troubles, at, OVER_AFTER)]


def again(book: Book) -> Book:
    """As another process has it."""
    return Book.parse(book.encode())


def test_a_trouble_is_told_once_when_it_has_lasted_and_once_when_it_is_over() -> None:
    """Whichever process looks: what was told is in the book."""
    book = Book()
    assert told(book, [AWAY], NOW) == []
    assert told(again(book), [AWAY], NOW + 59) == []
    assert told(book, [AWAY], NOW + 60) == ["GlartekNoWorker"]
    book = again(book)
    assert told(book, [AWAY], NOW + 1000) == []
    assert told(book, [], NOW + 1299) == []
    assert told(again(book), [], NOW + 1300) == ["over"]
    assert told(book, [], NOW + 1300) == ["over"]
    assert told(book, [], NOW + 1400) == []


def test_a_trouble_that_ends_before_it_has_lasted_is_not_told() -> None:
    """And the next one begins anew."""
    book = Book()
    assert told(book, [AWAY], NOW) == []
    assert told(book, [], NOW + 50) == []
    assert told(book, [AWAY], NOW + 70) == []
    assert told(book, [AWAY], NOW + 129) == []
    assert told(book, [AWAY], NOW + 130) == ["GlartekNoWorker"]


def test_a_clock_that_went_back_delays_nothing() -> None:
    """What was seen, told or put off while it was a year ahead counts from now."""
    book, ahead = Book(), NOW + 365 * 86400
    book.next_card = ahead
    conflict = Rising("GlartekConflicts", "", 1, "{by}", window=600)
    assert book.rises([conflict._replace(value=0)], ahead) == []
    assert len(book.rises([conflict], ahead)) == 1
    assert told(book, [AWAY], ahead) == []
    assert told(book, [AWAY], NOW) == []
    assert told(book, [AWAY], NOW + 60) == ["GlartekNoWorker"]
    assert book.next_card <= NOW + LONGEST
    assert len(book.rises([conflict], NOW)) == 1
    assert book.rises([conflict], NOW + 601) == []
    assert told(book, [AWAY], ahead) == []
    assert told(book, [], NOW) == []
    assert told(book, [], NOW + OVER_AFTER) == ["over"]


def test_flapping_is_damped() -> None:
    """A trouble that comes and goes every ten minutes for a day is told a few times, not 144."""
    book, news = Book(), 0
    for second in range(0, 86400, 15):
        present = second % 1200 < 600
        news += len(told(book, [AWAY] if present else [], NOW + second))
    assert 2 <= news <= 8


def test_a_trouble_of_yesterday_does_not_delay_the_end_of_todays() -> None:
    """Damping is forgiven after six hours."""
    book = Book()
    for start in (NOW, NOW + 86400):
        assert told(book, [AWAY], start) == []
        assert told(book, [AWAY], start + 60) == ["GlartekNoWorker"]
        assert told(book, [], start + 60 + OVER_AFTER) == ["over"]
        assert told(book, [], start + 12 * 3600) == []


def test_a_time_in_which_nobody_looked_is_no_trouble_that_lasted() -> None:
    """All processes were stopped over night."""
    book = Book()
    assert told(book, [AWAY], NOW) == []
    assert told(book, [AWAY], NOW + LONGEST + 3600) == []
    assert told(book, [AWAY], NOW + LONGEST + 3660) == ["GlartekNoWorker"]


def test_receivers_that_share_a_spool_are_one_alert() -> None:
    """They say the same of it."""
    book = Book()
    same = Trouble("GlartekDiskShort", "10 MiB are free.", "a-host")
    assert told(book, [same, same], NOW) == ["GlartekDiskShort"]


def dead(value: int) -> Rising:
    return Rising("GlartekDeadLetters", "h.act gave_up", value, "{about}: {by} dead letters.")


def test_a_thousand_dead_letters_are_one_alert_until_ten_minutes_bring_none() -> None:
    """What was counted before the first look is no news; the next that dies is one again."""
    book = Book()
    assert book.rises([dead(70)], NOW) == []
    [trouble] = book.rises([dead(1070)], NOW + 15)
    assert trouble.text == "h.act gave_up: 1000 dead letters."
    book = again(book)
    assert [one.text for one in book.rises([dead(1072)], NOW + 500)] == ["h.act gave_up: 1002 dead letters."]
    assert len(book.rises([dead(1072)], NOW + 1100)) == 1
    assert book.rises([dead(1072)], NOW + 1101) == []
    assert [one.text for one in book.rises([dead(1073)], NOW + 1200)] == ["h.act gave_up: 1 dead letters."]


def test_a_count_that_begins_later_has_risen_from_zero() -> None:
    """The first dead letter there ever was is told."""
    book = Book()
    assert book.rises([], NOW) == []
    assert len(again(book).rises([dead(1)], NOW + 15)) == 1


def test_a_count_that_went_back_is_no_rise() -> None:
    """Redis was restored from a backup."""
    book = Book()
    book.rises([dead(70)], NOW)
    assert book.rises([dead(5)], NOW + 15) == []
    assert [one.text for one in book.rises([dead(6)], NOW + 30)] == ["h.act gave_up: 1 dead letters."]
    assert book.rises([dead(2)], NOW + 45) == []
    assert [one.text for one in book.rises([dead(4)], NOW + 60)] == ["h.act gave_up: 2 dead letters."]


@pytest.mark.parametrize("fewer", [1, 2, 3])
def test_a_few_conflicts_are_a_senders_slip(fewer: int) -> None:
    """Below the least nothing is told, however often they come back after the window."""
    book = Book()
    book.rises([], NOW)
    for hours in range(5):
        conflicts = Rising("GlartekConflicts", "body", fewer * (hours + 1), "{by}", 4, 3600)
        assert book.rises([conflicts], NOW + hours * 7300) == []


def test_what_waits_for_teams_has_a_bound() -> None:
    """The log has the rest."""
    book = Book()
    for number in range(200):
        book.wait_for_teams(book.step([Trouble("GlartekUnsafe", "", f"{number}")], NOW, OVER_AFTER))
    assert len(again(book).unsent) == MOST


def test_a_book_of_another_version_can_be_read() -> None:
    """What it does not know it leaves out, and the end of an alert that is no more is not told."""
    seen = {"GlartekGone x": {"told": True, "times": 0, "last": 1, "since": 1}}
    book = Book.parse(json.dumps({"seen": seen, "unsent": [["GlartekGone", "", "", False, 1]], "new": 1}))
    assert book.unsent == []
    assert told(book, [], NOW) == []
    assert told(book, [], NOW + 1) == []
