"""How the worker's commands reach what is in Redis: where that is away, one line says so."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from arq.connections import ArqRedis

from receiver import command
from receiver.environment import SettingsError, load
from receiver.queue.keys import Keys
from receiver.settings import Settings
from worker.dead_letters import Operator
from worker.elsewhere import PayloadElsewhere

T = TypeVar("T")


def with_operator(act: Callable[[Operator], Awaitable[T]]) -> T:
    """What `act` makes of the deliveries in Redis."""
    return with_redis(lambda redis, keys: act(Operator(redis, keys)))


def with_redis(act: Callable[[ArqRedis, Keys], Awaitable[T]]) -> T:
    """What `act` makes of Redis and the kit's keys in it.

    Raises `SettingsError` with one line where Redis is away, or a payload elsewhere.
    """
    keys = Keys(load(Settings).key_prefix)
    try:
        return command.with_redis(lambda redis: act(redis, keys))
    except PayloadElsewhere as error:
        raise SettingsError(str(error)) from None
