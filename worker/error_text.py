"""The text of an error for the log, reports and dead letters, without what may be a secret or a payload."""

import re

import httpx2

from worker.handler import GiveUp, RetryLater, Skip


def told_in_log(error: BaseException) -> str:
    """An error in the log: the reason that a handler gave, else only the type, because a text may hold a payload.

    `show` and the dead letter have the text.
    """
    if isinstance(error, GiveUp | RetryLater | Skip):
        return describe(error)
    status = f": {error.response.status_code}" if isinstance(error, httpx2.HTTPStatusError) else ""
    return f"{type(error).__name__[:300]}{status}"


def describe(error: BaseException) -> str:
    """One line for dead letters and reports, valid UTF-8, without the parts of a URL that may be a credential.

    A reason that a handler gave keeps a URL's path; a library's error does not: the path may be a secret, too.
    """
    name = type(error).__name__[:300]
    text = said(error)
    if not text:
        return name
    return text[:300] if isinstance(error, GiveUp | RetryLater | Skip) else f"{name}: {text}"[:300]


def said(error: BaseException) -> str:
    """What an error says, on one line of at most 5000 characters; "" where it says nothing, or cannot."""
    try:
        text = " ".join(str(error)[:10_000].split())[:5000]  # cut first: it may hold megabytes
    except BaseException:  # noqa: BLE001 - its `__str__` raises: the name must do
        return ""
    text = text.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair cannot be stored
    text = re.sub(r"\b(\w+://)[^\s/@]*@", r"\1…@", text)  # user:password@
    text = re.sub(r"\b(\w+://[^\s?#'\"]*)[?#][^\s'\"]*", r"\1?…", text)  # a query may hold a signature, as Teams' does
    if isinstance(error, GiveUp | RetryLater | Skip):
        return text
    return re.sub(r"\b(\w+://[^\s/?#'\"]+|url: )/[^\s'\"]*", r"\1/…", text)  # `url: /path`, as requests has it
