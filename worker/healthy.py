"""`python -m worker healthy`: does the worker of this host do its work? For the probes of Compose and Kubernetes.

A worker reports to Redis once a second from the event loop in which it claims and runs jobs, so a worker that hangs
does not report. Where Redis is away nothing is known, and nothing would be gained: a worker that was started anew
would wait for it, too.
"""

import socket
from typing import NamedTuple

from redis.asyncio import Redis

from receiver.figures import read
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys


class Health(NamedTuple):
    """`why` is one line."""

    healthy: bool
    why: str


async def look(redis: Redis, keys: Keys) -> Health:
    """The health of this host's workers; of several, the one that reported last counts."""
    try:
        figures = await read(redis, keys)
    except REDIS_ERRORS as error:
        return Health(
            healthy=True, why=f"unknown: Redis does not answer ({type(error).__name__}), and a worker waits for it"
        )
    host = socket.gethostname()
    mine = [one for one in figures.processes if one.told["kind"] == "worker" and one.told["host"] == host]
    if not mine:
        return Health(healthy=False, why=f"no worker of {host} has reported within the last minute")
    last = min(mine, key=lambda one: one.age)
    if not last.is_alive:
        return Health(
            healthy=False, why=f"the worker of {host} has not reported for {last.age:.0f} s; it does once a second"
        )
    return Health(healthy=True, why=f"the worker of {host} has {last.told['running']} deliveries in work")
