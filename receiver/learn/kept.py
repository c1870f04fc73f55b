"""The deliveries that the kit still has: waiting, finished and kept for a replay, and dead letters."""

from collections.abc import Sequence

from arq.connections import ArqRedis

from receiver.command import no_redis
from receiver.delivery import Delivery
from receiver.environment import load
from receiver.queue import letters
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.jobs import job_key, unpack
from receiver.queue.keys import Keys
from receiver.settings import Settings


async def deliveries(most: int) -> list[Delivery]:
    """At most so many of each sort, the latest; what cannot be read, or is in a file elsewhere, is left out."""
    config = load(Settings)
    redis, keys = connect(config.redis_url.get_secret_value()), Keys(config.key_prefix)
    try:
        jobs = [*await _kept(redis, keys, most), *await _waiting(redis, keys, most), *await _dead(redis, keys, most)]
    except REDIS_ERRORS as error:
        raise no_redis(error) from None
    finally:
        await redis.aclose()
    found = {delivery.id: delivery for job in jobs if job and (delivery := _delivery(job))}
    return sorted(found.values(), key=lambda delivery: delivery.received_us)


async def _kept(redis: ArqRedis, keys: Keys, most: int) -> Sequence[bytes | None]:
    lines = await redis.execute_command("LRANGE", keys.kept, -most, -1)
    return await _values(redis, [keys.payload(line.split(b" ")[0].decode()) for line in lines])


async def _waiting(redis: ArqRedis, keys: Keys, most: int) -> Sequence[bytes | None]:
    ids = await redis.execute_command("ZRANGE", keys.queue, -most, -1)
    return await _values(redis, [job_key(job_id.decode()) for job_id in ids])


async def _dead(redis: ArqRedis, keys: Keys, most: int) -> Sequence[bytes | None]:
    found = []
    for dead_id in await redis.execute_command("ZRANGE", keys.dead, -most, -1):
        fields = (letters.PLAIN, letters.COMPRESSED)
        held = await redis.execute_command("HMGET", keys.dead_letter(dead_id.decode()), *fields)
        found += [letters.unpack(field, job) for field, job in zip(fields, held, strict=True) if job is not None]
    return found


async def _values(redis: ArqRedis, names: Sequence[str]) -> Sequence[bytes | None]:
    values: list[bytes | None] = await redis.execute_command("MGET", *names) if names else []
    return values


def _delivery(job: bytes) -> Delivery | None:
    try:
        return Delivery.from_job(unpack(job)["a"][0])
    except Exception:  # noqa: BLE001 - whatever else is on the queue, it is no sample
        return None
