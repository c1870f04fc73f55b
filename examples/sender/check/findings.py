"""What a check is, what it finds, and the list of all of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from examples.sender.check.bench import Bench

Status = Literal["passed", "failed", "warning", "skipped"]


class Failed(Exception):
    """The check found a fault; its message says what was seen."""


class Warned(Exception):
    """Nothing that Glartek asks for is broken, but the user should know; its message says what was seen."""


class Skipped(Exception):
    """The check cannot be made; its message says what is needed for it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw; `glartek` and `mend` are told only where there is something to mend."""

    check: str
    title: str
    status: Status
    seen: str
    seconds: float
    glartek: str = ""
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("check", "title", "status", "seen", "glartek", "mend")}
        return {**told, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is checked."""

    name: str
    title: str
    glartek: str
    mend: str
    timed: bool
    """Whether it judges by the clock: a fault must then show twice, because any machine hesitates once."""
    made_by: Callable[[Bench], Awaitable[str]]


CHECKS: dict[str, Check] = {}


def check(
    title: str, *, glartek: str, mend: str, timed: bool = False
) -> Callable[[Callable[[Bench], Awaitable[str]]], Check]:
    """Add a coroutine to the list of checks, named as it is: it returns what it saw, or raises one of the above."""

    def add(made_by: Callable[[Bench], Awaitable[str]]) -> Check:
        name = made_by.__name__.replace("_", "-")
        CHECKS[name] = Check(name, title, glartek, mend, timed, made_by)
        return CHECKS[name]

    return add
