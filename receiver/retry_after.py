"""When a target says to come again: `Retry-After` in both of its forms (RFC 9110, section 10.2.3), or a limit's end."""

from datetime import UTC, datetime

import httpx2

from receiver.events import times

LONGEST = 3600.0  # a target that asks for more is asked again after an hour


def seconds(response: httpx2.Response) -> float | None:
    """How long the answer asks to wait, at most `LONGEST`; None when it does not say, or not in a way to read.

    Without `Retry-After`, a 429 may tell in `X-RateLimit-Reset` when its limit ends, in Unix time as ServiceNow does.
    """
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST)
    date = times.http_date(value)
    if date is None and response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
        date = times.read(response.headers.get("x-ratelimit-reset"))
    return min(max((date - datetime.now(UTC)).total_seconds(), 0.0), LONGEST) if date else None
