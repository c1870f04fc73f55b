"""What was learned of payloads: the entries of the file, each clear or a question."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.events import candidates
from receiver.events.candidates import Candidate

SURE = 0.6
"""Below this even a lone candidate is a question."""
Choose = Callable[[str, Sequence[Candidate]], Candidate | None]
"""Asks somebody which candidate it is; None where nobody knows."""


@dataclass
class Entry:
    """One entry of the file: `chosen` where it is clear, else the candidates that it could be."""

    table: str
    name: str
    chosen: Sequence[str] = ()
    reason: str = ""
    confidence: float | None = 0.0
    """0 to 1; None for what somebody wrote and nothing in the events speaks for."""
    candidates: Sequence[Candidate] = ()


@dataclass
class Learned:
    """What was found in so many events."""

    events: list[dict[str, Any]]
    entries: list[Entry] = field(default_factory=list)
    left_out: int = 0
    """How many bodies beside them name no type where the others do."""
    batch: str | None = None
    words: dict[str, str | None] = field(default_factory=dict)
    """The sender's words that mean no type of the kit's, each with the nearest."""
    without_offset: str = ""
    """The path of a time that needs a zone."""
    numbers: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By kind and field: values that are numbers, of which nobody has said yet what they mean."""

    def add(self, table: str, name: str, found: Sequence[Candidate], choose: Choose) -> Sequence[str]:
        """An entry for the best candidate; its path, none where it stays open or there is no candidate."""
        if not found:
            return ()
        best = candidates.rivals(found)
        chosen = best[0] if len(best) == 1 and best[0].confidence >= SURE else choose(f"[{table}] {name}", best)
        if chosen is None:
            self.entries.append(Entry(table, name, candidates=best))
            return ()
        self.entries.append(Entry(table, name, [chosen.path], chosen.reason, chosen.confidence))
        return [chosen.path]

    @property
    def questions(self) -> list[str]:
        """What is open, a line each."""
        lines = [
            f"[{entry.table}] {entry.name}: {' or '.join(one.path for one in entry.candidates)}?"
            for entry in self.entries
            if not entry.chosen
        ]
        decided = {(entry.table, entry.name) for entry in self.entries}
        lines += [f"[event] {name}: nothing found" for name in ("id", "type", "time") if ("event", name) not in decided]
        lines += [f"[types] {word!r}: which type is it?" for word in self.words]
        if self.without_offset:
            lines.append(f"[event] time_zone: {self.without_offset} has no offset")
        return lines + [
            f"[{kind}.values] {name}: what {'does' if len(seen) == 1 else 'do'} {', '.join(seen)} mean?"
            for kind, fields in self.numbers.items()
            for name, seen in fields.items()
        ]
