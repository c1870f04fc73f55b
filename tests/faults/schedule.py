"""The plan of faults, made from a seed only, so that a run can be repeated."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Lane = Literal["receivers", "workers", "valkey", "connections", "link", "target"]

STRIKES = ("kill", "terminate")
DAMAGE = "kill, and damage the spool"
AWAY_SHARE = 0.2
"""Share of the run for which Valkey is taken away, once: 30 s of 150."""
FULL_LENGTH = 150.0
"""Seconds of a run with faults and pauses of full length; a shorter run scales them down."""
LONGEST: dict[str, tuple[float, float]] = {
    "kill": (0.2, 3.0),
    "terminate": (0.2, 3.0),
    "freeze": (2.0, 8.0),
    "lower its memory limit": (3.0, 6.0),
    "fill its memory": (3.0, 6.0),
}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault `kind` for number `target` of a lane (-1: both), at `at` (seconds since the start), for `seconds`."""

    at: float
    lane: Lane
    kind: str
    target: int
    seconds: float


def plan(seed: int, seconds: float) -> list[Fault]:
    """All faults of a run of this length, in order. Lanes overlap; faults of one lane do not."""
    rng = random.Random(seed)
    faults = [
        *_in_turn("receivers", rng, seconds, pause=(4, 10), of=_strikes(rng, [*STRIKES, DAMAGE], both=0.0)),
        *_in_turn("workers", rng, seconds, pause=(3, 8), of=_strikes(rng, STRIKES, both=0.15)),
        *_in_turn("connections", rng, seconds, pause=(5, 15), of=(("drop", 0, rng.uniform(2, 4)) for _ in _for_ever())),
        *_in_turn("link", rng, seconds, pause=(5, 15), of=(("slow", 0, rng.uniform(3, 6)) for _ in _for_ever())),
        *_in_turn("valkey", rng, seconds, pause=(2, 6), of=_valkey(rng, seconds)),
        *_in_turn("target", rng, seconds, pause=(2, 5), of=_mishaps(rng)),
    ]
    return sorted(faults)


def _in_turn(
    lane: Lane, rng: random.Random, seconds: float, *, pause: tuple[float, float], of: Iterator[tuple[str, int, float]]
) -> Iterator[Fault]:
    scale = min(1.0, max(0.4, seconds / FULL_LENGTH))
    at = 2.0
    for kind, target, length in of:
        at += rng.uniform(*pause) * scale
        if at + length > seconds:
            return
        yield Fault(round(at, 3), lane, kind, target, round(length, 3))
        at += length


def _strikes(rng: random.Random, kinds: Sequence[str], *, both: float) -> Iterator[tuple[str, int, float]]:
    """Kills in random order; a share of them hits both processes of the lane at once."""
    while True:
        target = -1 if rng.random() < both else rng.randrange(2)
        yield rng.choice(kinds), target, rng.uniform(0.1, 1.5)


def _mishaps(rng: random.Random) -> Iterator[tuple[str, int, float]]:
    """Rounds of all temporary failures of the external system, each round in random order."""
    while True:
        kinds = ["refuse for now", "ask for a pause", "lose answers", "answer late"]
        rng.shuffle(kinds)
        yield from ((kind, 0, rng.uniform(1, 3)) for kind in kinds)


def _valkey(rng: random.Random, seconds: float) -> Iterator[tuple[str, int, float]]:
    """Rounds of all faults of Valkey, each in random order; the long outage is in the first round only."""
    scale = min(1.0, max(0.4, seconds / FULL_LENGTH))
    for number in _for_ever():
        faults = [(kind, 0, rng.uniform(*span) * scale) for kind, span in LONGEST.items()]
        if number == 0:
            faults.append(("take away", 0, seconds * AWAY_SHARE))
        rng.shuffle(faults)
        yield from faults


def _for_ever() -> Iterator[int]:
    return itertools.count()
