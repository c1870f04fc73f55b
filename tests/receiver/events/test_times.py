"""Times as senders write them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receiver.events import times

LISBON = ZoneInfo("Europe/Lisbon")
NOON = datetime(2026, 7, 3, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _not_said() -> Iterator[None]:
    times._say_once.cache_clear()
    yield
    times._say_once.cache_clear()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-07-03T12:00:00Z", NOON),
        ("2026-07-03T12:00:00z", NOON),
        ("2026-07-03t12:00:00Z", NOON),
        (" 2026-07-03 12:00:00Z\n", NOON),
        ("2026-07-03T13:00:00+0100", NOON),
        ("2026-07-03T13:00:00+01:00", NOON),
        ("2026-07-03T13:00:00+01", NOON),
        ("2026-07-03 13:00:00 +0100", NOON),
        ("2026-07-03 12:00:00 UTC", NOON),
        ("2026-07-03 12:00:00 gmt", NOON),
        ("2026-07-03T12:00Z", NOON),
        ("2026-07-03T12:00:00.0000000Z", NOON),
        ("2026-07-03T12:00:00.1234567Z", NOON + timedelta(microseconds=123456)),
        ("2026-07-03T12:00:00,5Z", NOON + timedelta(seconds=0.5)),
        ("20260703T120000Z", NOON),
        ("20260703t130000+0100", NOON),
        ("2026-07-03Z", NOON.replace(hour=0)),
        ("2026-07-03+01:00", datetime(2026, 7, 3, tzinfo=timezone(timedelta(hours=1)))),
        ("20260703-0330", datetime(2026, 7, 3, tzinfo=timezone(timedelta(hours=-3.5)))),
        ("2026-07-02T24:00:00Z", NOON.replace(hour=0)),
        ("2026-07-02 24:00 UTC", NOON.replace(hour=0)),
        ("2026-07-02T24:00:00.000+00:00", NOON.replace(hour=0)),
        ("20260702T240000Z", NOON.replace(hour=0)),
        ("2026-12-31T24:00:00-0330", datetime(2027, 1, 1, tzinfo=timezone(timedelta(hours=-3.5)))),
        (1783080000, NOON),
        ("1783080000", NOON),
        (1783080000.5, NOON + timedelta(seconds=0.5)),
        ("1783080000.123456", NOON + timedelta(microseconds=123456)),
        (1783080000123, NOON + timedelta(milliseconds=123)),
        ("1783080000123.25", NOON + timedelta(microseconds=123250)),
        (1783080000123456, NOON + timedelta(microseconds=123456)),
        (1783080000123456789, NOON + timedelta(microseconds=123457)),
        (2026070312000, datetime(2034, 3, 15, 21, 18, 32, tzinfo=UTC)),  # 13 digits are no compact date
        (-1783080000.5, datetime(1913, 7, 1, 11, 59, 59, 500000, tzinfo=UTC)),
        ("/Date(1783080000000)/", NOON),
        ("/Date(1783080000000+0100)/", NOON),
        ("/Date(1783080000000-0330)/", NOON),
    ],
)
def test_each_usual_spelling_is_read(value: Any, expected: datetime) -> None:
    """ISO 8601, Unix times by their magnitude, .NET's."""
    with capture_logs() as logs:
        assert times.read(value) == expected
        assert times.read(value, LISBON) == expected
    assert logs == []


@pytest.mark.parametrize(
    ("value", "hours"),
    [("2026-07-03T12:00:00-0330", -3.5), ("/Date(1783080000000-0330)/", -3.5), ("2026-07-03 12:00:00 UTC", 0)],
)
def test_the_senders_offset_is_kept(value: str, hours: float) -> None:
    """Cards show a time as the sender wrote it."""
    time = times.read(value)
    assert time is not None
    assert time.utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-07-03T13:00:00", NOON),
        ("2026-07-03 13:00", NOON),
        ("20260703T130000", NOON),
        ("20260703130000", NOON),
        (20260703130000, NOON),
        ("202607031300", NOON),
        ("2026-07-03", NOON - timedelta(hours=13)),
        ("20260703", NOON - timedelta(hours=13)),
        (20260703, NOON - timedelta(hours=13)),
        ("2026-07-02T24:00", NOON - timedelta(hours=13)),
        ("2026-12-03T12:00:00", datetime(2026, 12, 3, 12, tzinfo=UTC)),
    ],
)
def test_a_time_without_an_offset_needs_a_zone(value: Any, expected: datetime) -> None:
    """It is one in the zone given, summer time and all; without a zone it is not read, and said so."""
    assert times.read(value, LISBON) == expected
    with capture_logs() as logs:
        assert times.read(value) is None
    assert [line["event"] for line in logs] == [
        "a time without an offset was not read; set PAYLOAD_TIMEZONE, such as Europe/Lisbon"
    ]


def test_a_missing_zone_is_said_once() -> None:
    """A sender that never gives an offset fills no log."""
    with capture_logs() as logs:
        for _ in range(3):
            times.read("2026-07-03T12:00:00")
    assert len(logs) == 1


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, [], {}, [1783080000], {"at": 1}, 0, 1, -1, 2026, 12.5, 99_999_999),
        *("", " ", "soon", "T", "Z", "-", "2026", "2026-07", "1.783e9", "0x6A", "\u0662026-07-03T12:00:00Z"),
        *("2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "20261301", "2026-07-03T25:00:00Z", "0000-01-01T00:00:00Z"),
        *("2026-07-03T24:00:01Z", "2026-07-03T24:30Z", "2026-07-03T24:00:00.5Z", "9999-12-31T24:00:00Z"),
        *("2026-07-03T12:00:00+99:99", "2026-07-03T12:00:00+24:00", "2026-07-03T12:00:00+01:00:00.5:1"),
        *("/Date(1783080000000+9959)/", "/Date()/", "/Date(99999999999999999999)/", "/Date(" + "9" * 50 + ")/"),
        *(float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 10**20, -(10**20), 10**5000, "9" * 5000),
        *("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "/Date(-62135596800000)/"),
        *("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.9999999Z", "/Date(253402300799999)/"),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, int) or abs(value) < 10**30 else "huge",
)
def test_what_is_no_time_is_none(value: Any) -> None:
    """Other JSON, impossible days and offsets, and .NET's words for "none" and "never"."""
    assert times.read(value) is None
    assert times.read(value, LISBON) is None


_NEARLY = st.from_regex(
    r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[Tt ]?[0-9]{2}:?[0-9]{2}:?[0-9]{0,2}(\.[0-9]{0,8})? ?([zZ]|[+-][0-9]{2}:?[0-9]{2})?",
    fullmatch=True,
)
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | _NEARLY
    | st.from_regex(r"[+-]?[0-9]{1,25}(\.[0-9]{1,5})?", fullmatch=True)
    | st.from_regex(r"/Date\(-?[0-9]{1,20}([+-][0-9]{4})?\)/", fullmatch=True)
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
)


@given(value=_VALUES, zone=st.sampled_from([None, LISBON, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Etc/GMT+12")]))
def test_whatever_it_is_a_time_can_be_used_anywhere(value: Any, zone: ZoneInfo | None) -> None:
    """Nothing is raised, by the reader nor by a handler that converts, compares or formats what was read."""
    time = times.read(value, zone)
    if time is not None:
        for other in (UTC, LISBON, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Etc/GMT+12")):
            assert time.astimezone(other) == time
        assert (time - NOON).total_seconds() == pytest.approx(time.timestamp() - NOON.timestamp())
        assert times.read(time.isoformat()) == time


@given(
    at=st.timedeltas(-timedelta(days=120 * 365), timedelta(days=170 * 365)).map(lambda since: NOON + since),
    minutes=st.integers(-14 * 60, 14 * 60),
)
def test_one_moment_in_every_spelling_is_one_time(at: datetime, minutes: int) -> None:
    """What is written by a program is read to the microsecond."""
    local = at.astimezone(timezone(timedelta(minutes=minutes)))
    microseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    spellings: list[Any] = [
        local.isoformat(),
        local.isoformat(" ").lower(),
        local.strftime("%Y%m%dT%H%M%S.%f%z"),
        local.strftime("%Y-%m-%d %H:%M:%S.%f0 %z"),
        at.isoformat().replace("+00:00", "z"),
    ]
    if 10**14 <= abs(microseconds) < 2**53:  # what a float holds exactly
        spellings += [microseconds, microseconds / 1_000, microseconds / 1_000_000]
    assert [times.read(spelling) for spelling in spellings] == [at] * len(spellings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fri, 03 Jul 2026 12:00:00 GMT", NOON),
        ("Friday, 03-Jul-26 12:00:00 GMT", NOON),
        ("Fri Jul  3 12:00:00 2026", NOON),
        ("Fri, 03 Jul 2026 13:00:00 +0100", NOON),
        ("Fri, 03 Jul 2026 12:00:00 -0000", NOON),
        *((text, None) for text in ("", " ", "soon", "120", "Fri, 32 Jul 2026 12:00:00 GMT", "Fri", "x" * 5000)),
        *(
            (f"Fri, 03 Jul {year} 12:00:00 {offset}", None)
            for year in ("0001", "9999")
            for offset in ("+9999", "-9999")
        ),
        ("Fri, 31 Dec 9999 23:59:59 -1400", None),
    ],
)
def test_a_headers_date_is_read_in_its_three_forms(text: str, expected: datetime | None) -> None:
    """RFC 9110's and its two old ones; nothing else is raised or read."""
    assert times.http_date(text) == expected


@given(
    st.text(max_size=80) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{8} [+-][0-9]{1,6}")
)
def test_a_header_can_hold_anything(text: str) -> None:
    """A date that was read can be compared with now."""
    time = times.http_date(text)
    assert time is None or (time - NOON).total_seconds() != 0.5
