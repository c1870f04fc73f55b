"""What a check is, what it finds, and the list of all of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from examples.sender.check.bench import Bench
from examples.sender.http.reply import Reply

Status = Literal["passed", "failed", "warning", "skipped"]
Likely = Literal["certain", "likely", "possible", "unlikely"]
LIKELY: dict[Likely, str] = {
    "certain": "certain: Glartek documents it",
    "likely": "likely: Glartek names it, or any HTTP client does it now and then",
    "possible": "possible: Glartek does not say, and some senders do it",
    "unlikely": "unlikely: no ordinary event is like this, but the endpoint is open to the internet",
}
"""How likely Glartek is to do what a check does."""


class Failed(Exception):
    """The check found a fault; its message says what was seen.

    `mend` replaces the check's own advice where that cannot help; `replies` are the answers in question, from which
    that is found out when no `mend` is given.
    """

    def __init__(self, seen: str, *replies: Reply, mend: str = "") -> None:
        super().__init__(seen)
        self.replies = replies
        self.mend = mend


class Warned(Exception):
    """Nothing that Glartek asks for is broken, but the user should know; its message says what was seen."""


class Skipped(Exception):
    """The check cannot be made; its message says what is needed for it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw; `glartek`, `likely` and `mend` are told only where there is something to mend."""

    check: str
    title: str
    status: Status
    seen: str
    seconds: float
    glartek: str = ""
    likely: str = ""
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        names = ("check", "title", "status", "seen", "glartek", "likely", "mend")
        return {**{name: getattr(self, name) for name in names}, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is checked."""

    name: str
    title: str
    likely: Likely
    glartek: str
    mend: str
    timed: bool
    """Whether it judges by the clock: a fault must then show twice, because any machine hesitates once."""
    takes: Callable[[Bench], float]
    """About how many seconds, once `bench.alone` says how long an answer takes."""
    made_by: Callable[[Bench], Awaitable[str]]


CHECKS: dict[str, Check] = {}


def check(
    title: str,
    *,
    likely: Likely,
    glartek: str,
    mend: str,
    timed: bool = False,
    takes: Callable[[Bench], float] = lambda bench: bench.alone,
) -> Callable[[Callable[[Bench], Awaitable[str]]], Check]:
    """Add a coroutine to the list of checks, named as it is: it returns what it saw, or raises one of the above."""

    def add(made_by: Callable[[Bench], Awaitable[str]]) -> Check:
        name = made_by.__name__.replace("_", "-")
        CHECKS[name] = Check(name, title, likely, glartek, mend, timed, takes, made_by)
        return CHECKS[name]

    return add
