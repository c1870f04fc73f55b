"""What the kit asks of Redis: the commands and keys that its user needs, and which of them it may not use.

Managed services and careful operators allow little. Each command that is needed is tried once, with arguments that
have no effect: the server looks at permissions before it looks at them. What is only nice to know is asked for where it
is used, and may be refused.
"""

import re
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, ReadOnlyError

from receiver.queue.keys import IN_PROGRESS, JOB, OLD_QUEUE, RETRY, Keys

NEEDED = {
    "RPUSH": "{key} x",  # what makes a key comes before what removes it
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
"""What WAIT_REPLICAS needs besides."""
NICE_TO_KNOW = ("INFO", "CONFIG|GET", "SCAN")
"""What `doctor` and the memory limit look at: refused, they say what they cannot see."""
_RUN = re.compile(r"permissions to run the '([^']+)' command")


def patterns(prefix: str) -> list[str]:
    """The keys that the kit reads and writes, as patterns of an access control list."""
    return [f"{prefix}*", f"{JOB}*", f"{IN_PROGRESS}*", f"{RETRY}*", OLD_QUEUE]


def rules(prefix: str, *, replicas: bool = False) -> list[str]:
    """The least that a Redis user has to be allowed, as rules for ACL SETUSER."""
    commands = sorted([*NEEDED, *(WITH_REPLICAS if replicas else ())])
    keys = [f"~{pattern}" for pattern in patterns(prefix)]
    return ["resetkeys", *keys, "resetchannels", "-@all", *(f"+{command.lower()}" for command in commands)]


async def refusals(redis: Redis, keys: Keys, *, replicas: bool = False) -> list[str]:
    """One line for each thing that is needed and refused: what it is and the rule to add. [] when all is allowed.

    Raises one of `connection.REDIS_ERRORS` when Redis is away, loading or read-only: then nothing is known yet.
    """
    needed = NEEDED | WITH_REPLICAS if replicas else NEEDED
    tries = [[command, *arguments.format(key=f"{keys.prefix}probe").split()] for command, arguments in needed.items()]
    try:
        answers = await _answers(redis, tries)
        answers_of_keys = await _answers(redis, [try_ for pattern in patterns(keys.prefix) for try_ in _uses(pattern)])
    except RedisConnectionError as error:  # refused while connecting: the database's number, or the user itself
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
    """The line for a call that was refused for want of a permission; None for any other trouble."""
    if match := _RUN.search(str(error)):
        command = match[1].lower()
        return _line(f"run {command.upper().replace('|', ' ')}", [f"+{command}"])
    if "o permissions to access" in str(error):
        return "the Redis user may not use a key of the kit: python -m receiver doctor says which rule to add"
    return None


def _line(what: str, missing: Sequence[str]) -> str:
    return f"the Redis user may not {what}: add {' '.join(missing)}"


def _uses(pattern: str) -> list[list[str]]:
    """A read and a write of a key that fits a pattern, without effect."""
    key = pattern.replace("*", "probe")
    return [["ZRANGE", key, "0", "0"], ["ZREM", key, "probe"]]


async def _answers(redis: Redis, commands: Sequence[Sequence[str]]) -> list[Any]:
    """What each command was answered, errors among them. Raises when the server is read-only, loading or away."""
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, ReadOnlyError | RedisConnectionError):
            raise answer
    return answers
