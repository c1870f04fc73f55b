"""What the jobs of one worker process share."""

import random
from dataclasses import dataclass

from arq.connections import ArqRedis

from receiver.client import Client
from receiver.settings import Settings
from receiver.traces import Traces
from worker.memory import Memory
from worker.outcomes import Outcomes
from worker.retries import Policy
from worker.routes import RouteTable
from worker.sightings import Sightings
from worker.time_limit import TimeLimit


@dataclass(frozen=True, slots=True)
class Services:
    """What jobs need: made once for each worker process, handed to arq as `ctx["services"]`."""

    settings: Settings
    routes: RouteTable
    outcomes: Outcomes
    memory: Memory
    policy: Policy
    time_limit: TimeLimit
    redis: ArqRedis
    http: Client
    rng: random.Random
    sightings: Sightings
    traces: Traces | None
