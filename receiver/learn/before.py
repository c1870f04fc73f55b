"""Keeps what the payload.toml of before has, where it finds something in the samples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from receiver.events.candidates import Candidate
from receiver.events.payload_map import PayloadMap
from receiver.learn.learned import SURE, Entry, Learned

Find = Callable[[Sequence[dict[str, Any]]], Sequence[Candidate]]
"""Finds the candidates for an entry in payloads, the most likely first."""


class Keeper:
    """Keeps what the file of before has, where it finds something; adds what it lacks for payloads of another form."""

    def __init__(self, before: PayloadMap, given: Mapping[str, set[str]], learned: Learned) -> None:
        self.before, self._given, self._learned = before, given, learned

    def __call__(
        self, table: str, name: str, payloads: Sequence[dict[str, Any]], find: Find = lambda _: ()
    ) -> Sequence[str]:
        """The paths, those of before first; none where these find nothing. `find` looks at payloads that they miss."""
        if name not in self._given.get(table, ()):
            return ()
        paths = self._paths(table, name)
        missed = [payload for payload in payloads if not self._is_found(table, name, payload)]
        if len(missed) == len(payloads):
            return ()
        new = next((one for one in find(missed) if one.confidence >= SURE and one.path not in paths), None)
        chosen = [*paths, new.path] if new else paths
        reason = f"as it was, and {new.path!r}: {new.reason}" if new else "as it was"
        self._learned.entries.append(Entry(table, name, chosen, reason, new.confidence if new else 1.0))
        return chosen

    def _paths(self, table: str, name: str) -> Sequence[str]:
        if table == "event":
            paths: Sequence[str] = getattr(self.before, name)
            return paths
        subject = self.before.subjects[table]
        return subject.at if name == "at" else subject.fields[name].paths

    def _is_found(self, table: str, name: str, payload: dict[str, Any]) -> bool:
        if table == "event":
            return any(getattr(self.before, name).found(payload))
        subject = self.before.subjects[table]
        part = subject.part(payload)
        return part is not None and (name == "at" or any(subject.fields[name].found(part, payload)))
