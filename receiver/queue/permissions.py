"""The commands and keys that the kit's Redis user needs, and a check of which are refused.

Managed services and careful operators allow only some commands. The check calls each needed command with arguments that
have no effect: the server checks permissions before arguments. Optional commands are tried where they are used.
"""

import re
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError

from receiver.queue.keys import IN_PROGRESS, JOB, OLD_QUEUE, RETRY, Keys

NEEDED = {
    "RPUSH": "{key} x",  # commands that create a key come before those that remove it
    "BLPOP": "{key} 0.001",
    "SADD": "{key} x",
    "SREM": "{key} x",
    "COPY": "{key} {key}",
    "EVAL": "return 0",
    "EVALSHA": "no-hash 0",
    "EXISTS": "{key}",
    "GET": "{key}",
    "HDEL": "{key} field",
    "HGET": "{key} field",
    "HGETALL": "{key}",
    "HINCRBY": "{key} field no-number",
    "HMGET": "{key} field",
    "HSET": "{key} field value no-value",
    "HSTRLEN": "{key} field",
    "INCRBY": "{key} no-number",
    "LLEN": "{key}",
    "LRANGE": "{key} 0 0",
    "LTRIM": "{key} 0 0",
    "MGET": "{key}",
    "PERSIST": "{key}",
    "PEXPIRE": "{key} 1",
    "PSETEX": "{key} 0 value",
    "PTTL": "{key}",
    "SET": "{key} value XX",
    "SMEMBERS": "{key}",
    "TIME": "",
    "ZADD": "{key} XX 0 x",
    "ZCARD": "{key}",
    "ZRANGE": "{key} 0 0",
    "ZRANGEBYSCORE": "{key} 0 0",
    "ZREM": "{key} x",
    "ZSCORE": "{key} x",
    "DEL": "{key}",
}
"""Every command that receiver and worker need, with arguments that change nothing."""
WITH_REPLICAS = {"WAIT": "0 0"}
"""Commands that WAIT_REPLICAS needs in addition."""
NICE_TO_KNOW = ("INFO", "CONFIG|GET", "SCAN")
"""Optional commands, for `doctor` and the memory limit, which report if one is refused."""
_RUN = re.compile(r"permissions to run the '([^']+)' command")


def patterns(prefix: str) -> list[str]:
    """The keys that the kit reads and writes, as patterns for an ACL."""
    return [f"{prefix}*", f"{JOB}*", f"{IN_PROGRESS}*", f"{RETRY}*", OLD_QUEUE]


def rules(prefix: str, *, replicas: bool = False) -> list[str]:
    """The least permissions that the kit's Redis user needs, as rules for ACL SETUSER."""
    commands = sorted([*NEEDED, *(WITH_REPLICAS if replicas else ())])
    keys = [f"~{pattern}" for pattern in patterns(prefix)]
    return ["resetkeys", *keys, "resetchannels", "-@all", *(f"+{command.lower()}" for command in commands)]


async def refusals(redis: Redis, keys: Keys, *, replicas: bool = False) -> list[str]:
    """One line for each missing permission, with the rule to add; [] if all are granted.

    Raises one of `connection.REDIS_ERRORS` if Redis is away, loading or read-only.
    """
    needed = NEEDED | WITH_REPLICAS if replicas else NEEDED
    tries = [[command, *arguments.format(key=f"{keys.prefix}probe").split()] for command, arguments in needed.items()]
    try:
        answers = await _answers(redis, tries)
        answers_of_keys = await _answers(redis, [try_ for pattern in patterns(keys.prefix) for try_ in _uses(pattern)])
    except RedisConnectionError as error:  # refused while connecting: SELECT of the database, or the user
        if line := refusal(error):
            return [line]
        raise
    refused = [try_[0] for try_, answer in zip(tries, answers, strict=True) if _RUN.search(str(answer))]
    unknown = [try_[0] for try_, answer in zip(tries, answers, strict=True) if "unknown command" in str(answer)]
    shut = [
        pattern
        for pattern, *uses in zip(patterns(keys.prefix), answers_of_keys[::2], answers_of_keys[1::2], strict=True)
        if any(isinstance(answer, NoPermissionError) and not _RUN.search(str(answer)) for answer in uses)
    ]
    lines = []
    if refused:
        lines.append(_line("run " + ", ".join(refused), [f"+{command.lower()}" for command in refused]))
    if shut:
        lines.append(_line("use the keys " + ", ".join(shut), [f"~{pattern}" for pattern in shut]))
    if unknown:
        names = ", ".join(unknown)
        lines.append(f"Redis does not know {names}: give renamed commands their names back, or use Redis 7.0 or later")
    return lines


def refusal(error: BaseException) -> str | None:
    """The line for a call that was refused for a missing permission; None for any other error."""
    if match := _RUN.search(str(error)):
        command = match[1].lower()
        return _line(f"run {command.upper().replace('|', ' ')}", [f"+{command}"])
    if "o permissions to access" in str(error):
        return "the Redis user may not use a key of the kit: python -m receiver doctor says which rule to add"
    return None


def _line(what: str, missing: Sequence[str]) -> str:
    return f"the Redis user may not {what}: add {' '.join(missing)}"


def _uses(pattern: str) -> list[list[str]]:
    """A read and a write, without effect, of a key that matches a pattern."""
    key = pattern.replace("*", "probe")
    return [["ZRANGE", key, "0", "0"], ["ZREM", key, "probe"]]


async def _answers(redis: Redis, commands: Sequence[Sequence[str]]) -> list[Any]:
    """The answer to each command, errors included. Raises if the server is read-only, loading or away."""
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, ReadOnlyError | RedisConnectionError):
            raise answer
    return answers
