"""When a target says to come again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import retry_after


def seconds(value: str | bytes) -> float | None:
    return retry_after.seconds(
        httpx2.Response(429, headers=[(b"retry-after", value if isinstance(value, bytes) else value.encode())])
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("0", 0), ("30", 30), (" 30 ", 30), ("3600", 3600), ("9" * 400, 3600), ("9" * 5000, 3600)),
        *((value, None) for value in ("", "soon", "-1", "1.5", "1e3", "nan", "\u0663", "30, 40")),
        ("Fri, 03 Jul 2020 12:00:00 GMT", 0),
        ("Fri, 03 Jul 2020 12:00:00 -0000", 0),
        ("Fri Jul  3 12:00:00 2020", 0),
        ("Fri, 03 Jul 2099 12:00:00 GMT", 3600),
        *(
            (f"Fri, 03 Jul {year} 12:00:00 {offset}", None)
            for year in ("0001", "2026", "9999")
            for offset in ("+9999", "-9999", "-99999999999999999999", "+" + "9" * 400)
        ),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
    ],
)
def test_seconds_and_dates_are_read(value: str, expected: float | None) -> None:
    """At most an hour; None for what says nothing, so that the worker's own back-off decides."""
    assert seconds(value) == expected


def test_a_date_is_waited_for() -> None:
    """Its distance from now."""
    assert seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)) == pytest.approx(
        99.5, abs=5
    )


@given(st.binary(max_size=60).filter(lambda value: not set(value) & {0, 10, 13}))
def test_whatever_a_target_sends_there_is_a_wait_or_none(value: bytes) -> None:
    """Nothing is raised."""
    wait = seconds(value)
    assert wait is None or 0 <= wait <= retry_after.LONGEST
