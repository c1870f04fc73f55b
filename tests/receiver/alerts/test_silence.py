"""When it is strange that nothing arrives."""

from datetime import UTC, datetime

import pytest
from arq.connections import ArqRedis

from receiver.alerts.silence import HOUR, WEEK, is_strange, learn
from receiver.queue.keys import Keys

NOW = datetime(2026, 11, 25, 15, 20, tzinfo=UTC).timestamp()  # a Wednesday
PLAIN = 3 * 86400.0
KEYS = Keys("glartek:")


def weeks(count: int, per_hour: int = 20, *, now: float = NOW, but: range = range(0)) -> dict[int, int]:
    """A plant that works from 6 to 18 on weekdays, with `but` days before the day of `now` on which nothing came."""
    hours, this = {}, int(now // HOUR)
    for back in range(1, count * WEEK + 1):
        at = datetime.fromtimestamp((this - back) * HOUR, UTC)
        works = at.weekday() < 5 and 6 <= at.hour < 18 and (back // 24) not in but
        hours[this - back] = per_hour if works else 0
    return hours


@pytest.mark.parametrize(
    ("silent_hours", "strange"),
    [(0.5, False), (2.4, False), (4, True), (8, True)],
)
def test_a_silence_at_work_is_strange_within_hours(silent_hours: float, *, strange: bool) -> None:
    """Two hours may be chance or a break; four in which every week had its events are none."""
    assert is_strange(weeks(4), NOW - silent_hours * HOUR, NOW, PLAIN) is strange


@pytest.mark.parametrize("days", [1, 2, 3, 4, 5])
def test_nights_and_weekends_are_quiet(days: int) -> None:
    """From the last event at 17:50 to 6 on the next day of work, on each day of work."""
    last = datetime(2026, 11, 23, 17, 50, tzinfo=UTC).timestamp() + (days - 1) * 86400
    first = last + 12 * HOUR
    while datetime.fromtimestamp(first, UTC).weekday() >= 5:
        first += 86400
    for quarter in range(int((first + 3600 - last) // 900)):
        now = last + quarter * 900
        assert not is_strange(weeks(4, now=now), last, now, PLAIN), datetime.fromtimestamp(now, UTC)
    assert is_strange(weeks(4, now=first + 4 * HOUR), last, first + 4 * HOUR, PLAIN)


def test_before_two_weeks_are_known_the_setting_decides() -> None:
    """A plant that is new."""
    assert not is_strange(weeks(1), NOW - 2 * 86400, NOW, PLAIN)
    assert is_strange(weeks(1), NOW - 3.1 * 86400, NOW, PLAIN)
    assert is_strange({}, NOW - 3.1 * 86400, NOW, PLAIN)


def test_a_plant_with_few_events_is_strange_after_a_week() -> None:
    """Where weeks have taught that days of silence are usual, the setting is too short."""
    few = weeks(4, per_hour=0)
    assert not is_strange(few, NOW - 6 * 86400, NOW, PLAIN)
    assert is_strange(few, NOW - 7.1 * 86400, NOW, PLAIN)


def test_a_long_silence_is_not_taken_for_what_is_usual() -> None:
    """The silence's own hours teach nothing."""
    for days in (2, 5, 8, 13, 20):
        quiet = dict.fromkeys(range(int(NOW // HOUR) - days * 24, int(NOW // HOUR)), 0)
        assert is_strange(weeks(5) | quiet, NOW - days * 86400, NOW, PLAIN), days


def test_the_clock_change_is_no_silence() -> None:
    """For a week the plant begins an hour later in UTC."""
    last = datetime(2026, 10, 23, 17, 50, tzinfo=UTC).timestamp()  # Friday, in summer time
    now = datetime(2026, 10, 26, 7, 0, tzinfo=UTC).timestamp()  # Monday: before, the first came at 6
    assert not is_strange(weeks(4, now=now), last, now, PLAIN)


async def put(redis: ArqRedis, key: str, field: str, value: str) -> None:
    await redis.execute_command("HSET", key, field, value)


async def test_hours_are_learnt_once_each_also_when_nobody_looked(redis: ArqRedis) -> None:
    """From the counts that are kept for a day; hours before the first look are unknown, and old ones go."""
    this = int(NOW // HOUR)
    for back in range(1, 30):
        await put(redis, KEYS.metrics_of((this - back) * 6), "accepted action.created", str(back))
        await put(redis, KEYS.metrics_of((this - back) * 6 + 5), "accepted other", "100")
        await put(redis, KEYS.metrics_of((this - back) * 6 + 5), "duplicates other body", "1000")
    assert await learn(redis, KEYS, (this - 5) * HOUR + 1) == {this - 6: 106}
    await put(redis, KEYS.hours, str(this - 6 * WEEK), "7")
    found = await learn(redis, KEYS, NOW)
    assert {hour: found[hour] for hour in range(this - 24, this)} == {this - back: 100 + back for back in range(1, 25)}
    await redis.delete(*[KEYS.metrics_of((this - back) * 6) for back in range(1, 30)])
    assert await learn(redis, KEYS, NOW + 60) == {hour: by for hour, by in found.items() if hour > this - 6 * WEEK}
