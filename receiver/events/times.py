"""Times as senders write them: one reader for the event, its views, handlers and the answers of targets.

| spelling | examples |
|---|---|
| ISO 8601 | `2026-11-03T09:12:55.1234567+0100`, `2026-11-03 09:12:55z`, `20261103T091255Z`, `20261103` |
| the same without any separator | `20261103091255` |
| the end of a day | `2026-11-03T24:00:00Z`, which is the beginning of the next |
| Unix time, as a number or text | `1762160000.5` (s), `1762160000500` (ms), `1762160000500000` (µs), and in ns |
| .NET's JSON | `/Date(1762160000500+0100)/` |

Every function returns None for what it cannot read and raises nothing, whatever the value is.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import structlog

_LONGEST = 64  # characters
_NOWHERE = timezone(timedelta(minutes=1))  # stands for no zone: nobody's clock is a minute off
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Closer to the ends of the calendar, a conversion to another zone would raise OverflowError in some handler. Such
# values stand for "none" and "never" (.NET's MinValue and MaxValue).
_FIRST, _LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)  # s, ms, µs and ns, of a second
_SMALLEST = 10**8  # March 1973 in seconds; a smaller number, such as 0 or 2026, is no Unix time
_LARGEST = 10**11  # the year 5138 in seconds; a larger number counts a smaller unit

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
# No Unix time of our days has 8, 12 or 14 digits: these would be 1970 in seconds, 1976 or 2612 in milliseconds.
_COMPACT = re.compile(r"(?:19|20|21)\d{6}(?:\d{4}|\d{6})?", re.ASCII)
_DOT_NET = re.compile(r"/Date\((-?\d+)(?:([+-]\d\d)(\d\d))?\)/", re.ASCII)
_UTC = re.compile(r"\s*(?:Z|UTC|GMT)$")
_SPACED_OFFSET = re.compile(r"\s+(?=[+-]\d\d)")
_DATE_WITH_OFFSET = re.compile(r"(\d{4}-\d\d-\d\d|\d{8})([+-]\d\d:?\d\d)", re.ASCII)
# The end of a day, which Python reads from 3.14 on.
_END_OF_DAY = re.compile(r"(?<=[T ])24(?=:?00(?::?00(?:[.,]0+)?)?(?:[+-]|$))", re.ASCII)

log = structlog.get_logger()


def read(value: Any, zone: tzinfo | None = None) -> datetime | None:
    """The time in a JSON value, aware, in the sender's offset.

    A time without an offset is one in `zone` (`PAYLOAD_TIMEZONE`). Without a zone it is not read, because it could be
    any of 26 hours; that is logged once.
    """
    if not (text := _text(value)):
        return None
    try:
        time = _read(text, zone)
    except (ValueError, OverflowError):  # no such day, no such offset, no such year
        return None
    return _convertible(time)


def has_no_offset(value: Any) -> bool:
    """Whether a value is a time that does not say where: `read` needs a zone for it."""
    time = read(value, _NOWHERE)
    return time is not None and time.tzinfo is _NOWHERE


def http_date(text: str) -> datetime | None:
    """The time in a header such as `Retry-After` (RFC 9110, section 5.6.7); one without a zone is GMT, too."""
    try:
        time = parsedate_to_datetime(text[:_LONGEST])
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return _convertible(time if time.tzinfo else time.replace(tzinfo=UTC))


def _convertible(time: datetime | None) -> datetime | None:
    return time if time and _FIRST <= time <= _LAST else None


def _text(value: Any) -> str:
    """The value as text to read; "" for what is no time, such as a list, true or NaN."""
    if isinstance(value, str):
        return value.strip() if len(value) <= _LONGEST else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not abs(value) < _LARGEST * _UNITS[-1]:  # NaN is not, either
        return ""
    return f"{value:f}" if isinstance(value, float) else str(value)


def _read(text: str, zone: tzinfo | None) -> datetime | None:
    if text[4:5] != "-":  # the usual spelling is the first to be tried
        if _NUMBER.fullmatch(text) and not _COMPACT.fullmatch(text):
            return _since_epoch(Decimal(text))
        if found := _DOT_NET.fullmatch(text):
            time = _EPOCH + timedelta(milliseconds=int(found[1]))
            return time.astimezone(_offset(found[2], found[3])) if found[2] else time
    time = _iso(text)
    if time.tzinfo is None and zone is None:
        _say_once()
        return None
    return time if time.tzinfo else time.replace(tzinfo=zone)


def _since_epoch(number: Decimal) -> datetime | None:
    if abs(number) < _SMALLEST:
        return None
    for unit in _UNITS:
        if abs(number) < _LARGEST * unit:
            return _EPOCH + timedelta(microseconds=round(number * 1_000_000 / unit))
    return None


def _iso(text: str) -> datetime:
    """The time in ISO 8601. Raises ValueError."""
    if text[10:11] in {"T", " ", ""}:  # Python takes any separator, the sign of an offset, too
        with suppress(ValueError):
            return datetime.fromisoformat(text)
    text = f"{text[:8]}T{text[8:]}" if _COMPACT.fullmatch(text) else text.upper()
    text = _SPACED_OFFSET.sub("", _UTC.sub("+00:00", text))
    if found := _DATE_WITH_OFFSET.fullmatch(text):
        text = f"{found[1]}T00:00{found[2]}"
    text, days = _END_OF_DAY.subn("00", text)
    return datetime.fromisoformat(text) + timedelta(days=days)


def _offset(hours: str, minutes: str) -> tzinfo:
    """Raises ValueError for a day or more."""
    return timezone(timedelta(hours=int(hours), minutes=int(hours[0] + minutes)))


@cache
def _say_once() -> None:
    log.warning("a time without an offset was not read; set PAYLOAD_TIMEZONE, such as Europe/Lisbon")
