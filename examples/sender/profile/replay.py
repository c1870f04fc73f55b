"""Computes the receiver's idempotency keys for the recorded requests with the proposed settings."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from examples.sender.payload_map import OURS
from examples.sender.profile.sightings import Sighting
from receiver.events.paths import Paths
from receiver.idempotency import IdempotencyRule


@dataclass(frozen=True, slots=True)
class Replay:
    """How the receiver's rule classifies the recorded requests."""

    requests: int
    events: int
    recognised: int
    """Duplicates recognised as such."""
    missed: int
    """Duplicates taken for new events: they would be handled twice."""
    lost: int
    """Events taken for a duplicate of another one: they would be lost."""

    @property
    def told(self) -> str:
        return (
            f"replayed through the kit with these settings: {self.requests} requests for {self.events} events; "
            f"{self.recognised} repeats recognised, {self.missed} missed (handled twice), "
            f"{self.lost} events taken for a repeat (lost)"
        )


def replay(settings: Mapping[str, str], seen: Sequence[Sighting]) -> Replay:
    """Apply the receiver's rule with these settings to every request, in order of arrival."""
    ids = Paths(settings["EVENT_ID_PATHS"].split(",") if "EVENT_ID_PATHS" in settings else ())
    rule = IdempotencyRule(settings["IDEMPOTENCY_SOURCES"].split(","), replace(OURS, id=ids))
    requests = [(arrival, number) for number, sighting in enumerate(seen) for arrival in sighting.arrivals]
    keys: dict[str, int] = {}
    met: set[int] = set()
    outcomes = Counter[str]()
    for arrival, event in sorted(requests, key=lambda request: request[0].number):
        key = rule.delivery(dict(arrival.headers), arrival.body, 0).id
        if event in met:
            outcomes["recognised" if key in keys else "missed"] += 1
        elif key in keys:
            outcomes["lost"] += 1
        keys.setdefault(key, event)
        met.add(event)
    return Replay(len(requests), len(seen), outcomes["recognised"], outcomes["missed"], outcomes["lost"])
