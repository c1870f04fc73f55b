"""The call of `accept.lua`: stores some deliveries in one atomic step, and says what became of each."""

import asyncio
from collections.abc import Sequence
from enum import IntEnum

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from receiver.delivery import Delivery
from receiver.packing import pack_delivery, script_args, script_keys
from receiver.queue.keys import Keys
from receiver.queue.scripts import Script

ACCEPT = Script.load("accept.lua", "duplicates.lua")
REPLICATION = 0.7
"""The share of a call's time within which replicas must confirm, where WAIT_REPLICAS asks for any."""


class Acceptance(IntEnum):
    """What became of a delivery; the first three are what `accept.lua` answers."""

    STORED = 1
    DUPLICATE = 2
    CONFLICT = 3
    SPOOLED = 4
    NOT_STORED = 5


_BY_NUMBER = {acceptance.value: acceptance for acceptance in Acceptance}


class NotReplicated(RedisError):
    """Redis took a batch, but fewer replicas than asked for have it: a failover now could lose it."""


async def accept(
    redis: ArqRedis, keys: Sequence[str], items: Sequence[bytes], seconds: float, replicas: int
) -> list[Acceptance]:
    """Store items of `pack_delivery` within `seconds`, on so many replicas, too; `keys` are `script_keys`.

    Raises what Redis raises, TimeoutError and `NotReplicated`: the items may be stored all the same.
    """
    arguments = script_args(items)
    async with asyncio.timeout(seconds):
        if replicas:
            wait = replicas, round(seconds * REPLICATION * 1000)
            answers, confirmed = await ACCEPT.replicated(redis, keys, arguments, wait)
            if confirmed < replicas:
                raise NotReplicated(f"{confirmed} replicas have it, WAIT_REPLICAS asks for {replicas}")
        else:
            answers = await ACCEPT(redis, keys, arguments)
    return [_BY_NUMBER[number] for number in answers]


async def accept_directly(redis: ArqRedis, keys: Keys, delivery: Delivery) -> Acceptance:
    """Store one delivery outside of a receiver (a conflict that is replayed): the same step, without the spool."""
    answers = await ACCEPT(redis, script_keys(keys), script_args([pack_delivery(keys, delivery)]))
    return Acceptance(answers[0])
