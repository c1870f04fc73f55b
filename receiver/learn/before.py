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
        found: dict[str | None, list[dict[str, Any]]] = {}
        for payload in payloads:
            found.setdefault(self._path_in(table, name, payload), []).append(payload)
        missed = found.pop(None, [])
        if not found:
            return ()
        paths = self._paths(table, name)
        new = next((one for one in find(missed) if one.confidence >= SURE and one.path not in paths), None)
        if new:
            found[new.path] = missed
        chosen = [*paths, new.path] if new else paths
        everywhere = find(payloads)
        proofs = [_proof(path, [*everywhere, *find(found[path])]) for path in chosen if path in found]
        self._learned.entries.append(_entry(table, name, chosen, [one for one in proofs if one]))
        return chosen

    def _paths(self, table: str, name: str) -> Sequence[str]:
        if table == "event":
            paths: Sequence[str] = getattr(self.before, name)
            return paths
        subject = self.before.subjects[table]
        return subject.at if name == "at" else subject.fields[name].paths

    def _path_in(self, table: str, name: str, payload: dict[str, Any]) -> str | None:
        """The first path of before that leads to something in a payload."""
        if table == "event":
            return next((path for path, _ in getattr(self.before, name).found(payload)), None)
        subject = self.before.subjects[table]
        if (part := subject.part(payload)) is None:
            return None
        if name == "at":
            return next(path for path, value in subject.at.found(payload) if isinstance(value, dict))
        return next((path for path, _ in subject.fields[name].found(part, payload)), None)


def _proof(path: str, found: Sequence[Candidate]) -> Candidate | None:
    """The first candidate that is this path."""
    return next((one for one in found if one.path == path), None)


def _entry(table: str, name: str, chosen: Sequence[str], proofs: Sequence[Candidate]) -> Entry:
    """Paths that are kept, as sure as the payloads make them: that the file has them proves nothing, it may be ours."""
    if not proofs:
        return Entry(table, name, chosen, "as it was", None)
    reasons = [one.reason if len(proofs) == 1 else f"{one.path}: {one.reason}" for one in proofs]
    return Entry(table, name, chosen, "; ".join(reasons), min(one.confidence for one in proofs))
