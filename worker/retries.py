"""Which failure, which wait: pure decisions about a handler that did not succeed."""

import random
from dataclasses import dataclass
from typing import Literal

from worker.error_text import describe, said
from worker.handler import GiveUp, RetryLater


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
        reason = said(error)[:300]  # without a reason it only waits its turn: no failure
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
    except Exception:  # noqa: BLE001 - a derived class may lack `seconds`, or have no number there
        return None
