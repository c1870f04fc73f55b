"""Answers a sender in every way: each new event gets the next kind of answer, for its first tries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from examples.sender.http.arrivals import Answer, Arrival
from examples.sender.profile.sightings import MOVED, Sighting, place

RETRY_AFTER = 2  # seconds that the 503 asks for
_GRACE = 0.1  # seconds before a reset, in which a body sent with its head arrives and identifies the event


@dataclass(frozen=True, slots=True)
class Scene:
    """One way to answer."""

    name: str
    answer: Answer
    before_reading: bool = False


def scenes(path: str, late: float) -> dict[str, Scene]:
    """All scenes, in order; `late` is in seconds (11 is one more than Glartek waits)."""
    half = Answer(200, body=b"x" * 200, ending="half")
    listed = [
        *(Scene(str(status), Answer(status)) for status in (200, 201, 202, 204)),
        Scene("301", Answer(301, headers={"location": path + MOVED})),
        *(Scene(str(status), Answer(status)) for status in (400, 500)),
        Scene("503", Answer(503, headers={"retry-after": str(RETRY_AFTER)})),
        Scene("late", Answer(200, delay=late)),
        Scene("half", half),
        Scene("reset after reading", Answer(ending="reset")),
        Scene("reset before reading", Answer(ending="reset", delay=_GRACE), before_reading=True),
    ]
    return {scene.name: scene for scene in listed}


class Script:
    """Chooses the answers of a `RecordingReceiver`, and notes the answer to each request.

    The first `tries` requests of an event get its scene, the next ones 200, so that the sender stops repeating it.
    """

    def __init__(self, scenes: Sequence[Scene], tries: int) -> None:
        self.scenes = scenes
        self.tries = tries
        self.given: dict[int, str] = {}
        """The scene for each request, by its number; `then 200` for a 200 after the scene's tries."""
        self._events: list[Sighting] = []
        self._assigned: dict[int, Scene] = {}
        self._early: list[Arrival] = []
        self._next = 0

    @property
    def left(self) -> list[str]:
        """The scenes not used yet."""
        played = set(self.given.values())
        return [scene.name for scene in self.scenes if scene.name not in played]

    def at_headers(self, arrival: Arrival) -> Answer | None:
        """The answer, if the next scene answers before the body is read."""
        scene = self._due()
        if not scene.before_reading or arrival.target.endswith(MOVED):
            return None
        self._next += 1
        self.given[arrival.number] = scene.name
        self._early.append(arrival)
        return scene.answer

    def answer(self, arrival: Arrival) -> Answer:
        """The answer to a complete request."""
        if arrival.target.endswith(MOVED):
            self.given[arrival.number] = "followed"
            return Answer()
        for early in (early for early in self._early if early.complete):
            place(self._events, early)
        self._early = [early for early in self._early if not early.complete]
        event = place(self._events, arrival)
        if len(event.arrivals) == 1:
            self._assigned[id(event)] = self._due()
            self._next += 1
        scene = self._assigned.get(id(event))
        if scene is None or len(event.arrivals) > self.tries:
            self.given[arrival.number] = "then 200"
            return Answer()
        self.given[arrival.number] = scene.name
        return replace(scene.answer)

    def _due(self) -> Scene:
        return self.scenes[self._next % len(self.scenes)]
