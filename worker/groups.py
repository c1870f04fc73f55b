"""Dead letters in groups: those of one handler that failed with the same error."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from worker.letter import DeadLetter
from worker.same_error import same_error

MOST_GROUPS = 1000
"""Groups told apart; reasons come from outside, and what is in none of these is counted together."""
OTHERS = "(others)"


@dataclass
class Group:
    """Dead letters of one handler with one error. `example` is the id of the newest."""

    id: str
    kind: str
    handler: str
    error: str
    first: datetime
    last: datetime
    example: str
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        if letter.type in self.types or len(self.types) < MOST_GROUPS:
            self.types[letter.type] += 1
        self.first = min(self.first, letter.at)
        if letter.at >= self.last:
            self.last, self.example = letter.at, letter.id

    def summary(self) -> dict[str, Any]:
        return {
            "group": self.id,
            "kind": self.kind,
            "handler": self.handler,
            "error": self.error,
            "count": self.count,
            "first": self.first.isoformat(timespec="milliseconds"),
            "last": self.last.isoformat(timespec="milliseconds"),
            "types": dict(self.types.most_common(20)),
            "example": self.example,
        }


def grouped(letters: Iterable[DeadLetter]) -> list[Group]:
    """The groups of these dead letters, the largest first."""
    groups: dict[str, Group] = {}
    for letter in letters:
        about = letter.group, letter.kind, letter.handler, same_error(letter.reason)
        if about[0] not in groups and len(groups) >= MOST_GROUPS:
            about = OTHERS, letter.kind, OTHERS, OTHERS
        if about[0] not in groups:
            groups[about[0]] = Group(*about, letter.at, letter.at, letter.id)
        groups[about[0]].add(letter)
    return sorted(groups.values(), key=lambda group: (-group.count, group.handler, group.error))
