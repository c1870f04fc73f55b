"""Which troubles are news: each is told once when it has lasted, and once when it is over.

Damped, so that a trouble that comes and goes is not told each time: an alert is over only when all was well for
ALERTS_OVER_AFTER, for twice as long when it came back within six hours, and so on, up to an hour.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from receiver.alerts.troubles import KINDS, Rising, Trouble

FORGIVEN = 6 * 3600.0
"""Seconds after which a trouble that comes back is a new one."""
LONGEST = 3600.0
MOST = 50
"""News that wait for a Teams that is away; then the oldest go, which the log has."""


class News(NamedTuple):
    """What is to be told: an alert, or that it is over. `at` is Unix time."""

    name: str
    about: str
    text: str
    is_over: bool
    at: float

    @property
    def told(self) -> dict[str, Any]:
        """As a line of the log has it."""
        kind = KINDS[self.name]
        about = {"about": self.about} if self.about else {}
        return {"alert": self.name, **about, "told": self.text, "look_at": kind.look, "type": kind.command}


class Book:
    """What was seen and told so far.

    `unsent`: news that Teams has not taken yet; `next_card`: when it may be tried (Unix s); `failures`: in a row.
    """

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, list[float]] | None = None  # None: nothing is known of what was counted before
        self.unsent: list[News] = []
        self.next_card, self.failures = 0.0, 0

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """What `encode` gave, of any version; an empty book for an empty text."""
        book, told = cls(), json.loads(text or "{}")
        book._seen, book._counts = told.get("seen", {}), told.get("counts")
        book.unsent = [News(*one) for one in told.get("unsent", ()) if one[0] in KINDS]
        book.next_card, book.failures = told.get("next_card", 0.0), told.get("failures", 0)
        return book

    def encode(self) -> str:
        told = {"seen": self._seen, "counts": self._counts, "unsent": self.unsent}
        return json.dumps({**told, "next_card": self.next_card, "failures": self.failures})

    @property
    def is_settled(self) -> bool:
        """Whether no alert is open and all was told."""
        return not self.unsent and not any(seen["told"] for seen in self._seen.values())

    def rises(self, counts: Iterable[Rising], now: float) -> list[Trouble]:
        """The counts that have risen within their window. What was counted before the first look is no news."""
        is_first, found = self._counts is None, []
        known = self._counts if self._counts is not None else {}
        for one in counts:
            key = f"{one.name} {one.about}"
            base, seen, rose = known.get(key) or [one.value if is_first else 0, one.value if is_first else 0, 0.0]
            if one.value < seen:  # an older Redis came back
                base = seen = one.value
            rose = min(rose, now)  # the clock may have gone back
            if now - rose > one.window:
                base = seen
            if one.value > seen:
                rose = now
            known[key] = [base, one.value, rose]
            if rose and now - rose <= one.window and one.value - base >= one.least:
                text = one.text.format(by=int(one.value - base), about=one.about)
                found.append(Trouble(one.name, text, one.about))
        self._counts = known
        return found

    def step(self, troubles: Iterable[Trouble], now: float, over_after: float) -> list[News]:
        """What is to be told now that these are the troubles. `over_after`: see ALERTS_OVER_AFTER."""
        self._set_back(now)
        news = []
        present = {f"{one.name} {one.about}": one for one in troubles}
        for key, trouble in present.items():
            seen = self._seen.setdefault(key, {"told": False, "times": 0, "last": now, "since": now})
            if not seen["told"] and (seen["since"] is None or now - seen["last"] > LONGEST):
                seen["since"] = now  # nobody looked meanwhile, or it was well
            seen["last"] = now
            if not seen["told"] and now - seen["since"] >= trouble.after:
                seen["told"] = True
                news.append(News(trouble.name, trouble.about, trouble.text, is_over=False, at=now))
        for key, seen in list(self._seen.items()):
            if key not in present and (over := self._absent(key, seen, now, over_after)):
                news.append(over)
        return news

    def _set_back(self, now: float) -> None:
        """Take what is later than now for now: the clock went back, and nobody is to wait until it has caught up."""
        self.next_card = min(self.next_card, now + LONGEST)
        for seen in self._seen.values():
            seen["last"] = min(seen["last"], now)
            seen["since"] = None if seen["since"] is None else min(seen["since"], now)

    def _absent(self, key: str, seen: dict[str, Any], now: float, over_after: float) -> News | None:
        name, _, about = key.partition(" ")
        well_for = now - seen["last"]
        if not seen["told"]:
            seen["since"] = None
            if not seen["times"] or well_for > FORGIVEN:
                del self._seen[key]
            return None
        if name in KINDS and well_for < min(over_after * 2 ** seen["times"], max(LONGEST, over_after)):
            return None
        seen.update(told=False, since=None, times=seen["times"] + 1)
        return News(name, about, KINDS[name].over, is_over=True, at=now) if name in KINDS else None

    def wait_for_teams(self, news: Iterable[News]) -> None:
        """Keep news until Teams has taken them."""
        self.unsent = [*self.unsent, *news][-MOST:]
