"""Which failure, which wait: pure decisions about a handler that did not succeed."""

import random
import re
from dataclasses import dataclass
from typing import Literal

import httpx2

from worker.handler import GiveUp, RetryLater, Skip


@dataclass(frozen=True, slots=True)
class Policy:
    """The budget of a handler for one event. Times in seconds.

    The wait before a retry is exponential with full jitter (a random part of `base * 2**tries`, at most `cap`), so
    that many handlers that failed together do not come back together.
    """

    base: float = 2.0
    cap: float = 3600.0
    max_tries: int = 40
    max_age: float = 3 * 86400.0


@dataclass(frozen=True, slots=True)
class Again:
    """Run it again after `wait` seconds; `tries` have been used up by then."""

    wait: float
    tries: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Do not run it again; `budget` is the part of the policy that ended it, None where the handler gave up."""

    reason: str
    budget: Literal["tries", "age"] | None = None


def decide(error: BaseException, tries: int, age: float, policy: Policy, rng: random.Random) -> Again | Dead:
    """What follows from a failure, after `tries` used up before it, `age` seconds after the first attempt."""
    reason = describe(error)
    if isinstance(error, GiveUp):
        return Dead(reason)
    if (asked := _asked_for(error)) is not None:
        reason = _text(error)[:300]  # without one it waits its turn, which is no failure
        if age + asked > policy.max_age:
            return Dead(f"{reason or 'it waited its turn'}; older than its budget of {policy.max_age:g} s", "age")
        return Again(asked, tries, reason)
    if tries + 1 >= policy.max_tries:
        return Dead(f"{reason}; all {policy.max_tries} tries used up", "tries")
    wait = rng.uniform(0, min(policy.cap, policy.base * 2 ** min(tries, 40)))
    if age + wait > policy.max_age:
        return Dead(f"{reason}; older than its budget of {policy.max_age:g} s", "age")
    return Again(wait, tries + 1, reason)


def _asked_for(error: BaseException) -> float | None:
    """The wait that a handler asked for, in seconds; None when it did not."""
    try:
        return max(0.0, float(error.seconds)) if isinstance(error, RetryLater) else None
    except Exception:  # noqa: BLE001 - a class derived from it that never called it, or said something else
        return None


def told_in_log(error: BaseException) -> str:
    """What the log says of an error: a handler's own words, of any other the type, because its text may hold a payload.

    `show` and the dead letter have the text.
    """
    if isinstance(error, GiveUp | RetryLater | Skip):
        return describe(error)
    status = f": {error.response.status_code}" if isinstance(error, httpx2.HTTPStatusError) else ""
    return f"{type(error).__name__[:300]}{status}"


def describe(error: BaseException) -> str:
    """One line for dead letters and reports, which UTF-8 can hold, without the parts of a URL that may be a credential.

    What a handler says itself keeps a URL's path; a library's error does not, for the path may be a secret, too.
    """
    name = type(error).__name__[:300]
    text = _text(error)
    if not text:
        return name
    return text[:300] if isinstance(error, GiveUp | RetryLater | Skip) else f"{name}: {text}"[:300]


def _text(error: BaseException) -> str:
    try:
        text = " ".join(str(error)[:10_000].split())[:5000]  # cut first: it may hold megabytes
    except BaseException:  # noqa: BLE001 - an error in somebody's error: its name must do
        return ""
    text = text.encode("utf-8", "backslashreplace").decode()  # half of a surrogate pair cannot be stored
    text = re.sub(r"\b(\w+://)[^\s/@]*@", r"\1…@", text)  # user:password@
    text = re.sub(r"\b(\w+://[^\s?#'\"]*)[?#][^\s'\"]*", r"\1?…", text)  # a query may hold a signature, as Teams' does
    if isinstance(error, GiveUp | RetryLater | Skip):
        return text
    return re.sub(r"\b(\w+://[^\s/?#'\"]+|url: )/[^\s'\"]*", r"\1/…", text)  # `url: /path`, as requests has it
