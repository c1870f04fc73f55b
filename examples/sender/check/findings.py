"""Checks, their findings, and the list of all checks."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from examples.sender.check.context import CheckContext
from examples.sender.http.reply import Reply

Status = Literal["passed", "failed", "warning", "skipped"]
Likely = Literal["certain", "likely", "possible", "unlikely"]
LIKELY: dict[Likely, str] = {
    "certain": "certain: Glartek documents it",
    "likely": "likely: Glartek names it, or any HTTP client does it now and then",
    "possible": "possible: Glartek does not say, and some senders do it",
    "unlikely": "unlikely: no ordinary event is like this, but the endpoint is open to the internet",
}
"""How likely Glartek is to send such requests."""


class Failed(Exception):
    """The check found a fault; the message says what was seen.

    `mend` replaces the check's own advice. Without it, the advice is chosen from `replies`, the failed answers.
    """

    def __init__(self, seen: str, *replies: Reply, mend: str = "") -> None:
        super().__init__(seen)
        self.replies = replies
        self.mend = mend


class Warned(Exception):
    """Glartek's requirements are met, but the user should know what was seen; see the message."""


class Skipped(Exception):
    """The check cannot be made; the message says what it needs."""


class Unusable(Skipped):
    """A command of the user does not work: the check that it was given for is not made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check; `glartek`, `likely` and `mend` are set only for a failure or a warning."""

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
    """One check."""

    name: str
    title: str
    likely: Likely
    glartek: str
    mend: str
    timed: bool
    """Whether it measures time: then it fails only if it fails twice, because any machine may pause once."""
    takes: Callable[[CheckContext], float]
    """Estimated seconds, computed from `context.alone`."""
    made_by: Callable[[CheckContext], Awaitable[str]]


CHECKS: dict[str, Check] = {}


def check(
    title: str,
    *,
    likely: Likely,
    glartek: str,
    mend: str,
    timed: bool = False,
    takes: Callable[[CheckContext], float] = lambda context: context.alone,
) -> Callable[[Callable[[CheckContext], Awaitable[str]]], Check]:
    """Add a coroutine to the list of checks under its name; it returns what it saw, or raises one of the above."""

    def add(made_by: Callable[[CheckContext], Awaitable[str]]) -> Check:
        name = made_by.__name__.replace("_", "-")
        CHECKS[name] = Check(name, title, likely, glartek, mend, timed, takes, made_by)
        return CHECKS[name]

    return add
