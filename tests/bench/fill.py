"""Redis with a past: keys remembered, jobs queued; written by Redis itself, as fast as it can."""

from typing import Any

from redis import Redis

from receiver import events
from receiver.delivery import Sources
from receiver.keys import Keys
from tests.bench.load import body

KEYS = Keys("glartek:")
BATCH = 20_000
REMEMBER = """
for i = ARGV[1], ARGV[2] do
  local id = string.sub(redis.sha1hex(i), 1, 32)
  redis.call('HSET', ARGV[3] .. id, 'k', 'evt_' .. i, 's', 'event-id', 't', 'work_order.updated', 'd', string.sub(id, 1, 16),
    'a', '1760000000000000', '*', '1', 'handlers.first', 'done 1 1760000000000', 'handlers.second', 'done 1 1760000000000',
    'handlers.third', 'done 1 1760000000000')
  redis.call('PEXPIRE', ARGV[3] .. id, 604800000)
end
"""
ENQUEUE = """
for i = ARGV[1], ARGV[2] do
  local id = string.sub(redis.sha1hex(i), 1, 32)
  local job = id .. ':640f1f2f3f4f5'
  redis.call('HSET', ARGV[3] .. id, 'k', 'evt_' .. i, 's', 'event-id', 't', 'work_order.updated', 'd', string.sub(id, 1, 16),
    'a', '1760000000000000', 'u', 'work_order:wo_8241')
  redis.call('SET', 'arq:job:' .. job, ARGV[4])
  redis.call('ZADD', 'arq:queue', 1760000000000 + i / 4096, job)
end
"""


def remember(redis: Redis, count: int) -> None:
    """So many deliveries that were handled a while ago."""
    _run(redis, REMEMBER, count)


def enqueue(redis: Redis, count: int) -> None:
    """So many deliveries that wait for a worker."""
    sources = Sources(("event-id",), events.EVENT_ID_PATHS, events.EVENT_TYPE_PATHS)
    job = sources.delivery({"content-type": "application/json"}, body("evt_", 0), 1_760_000_000_000_000).job()
    _run(redis, ENQUEUE, count, job)


def _run(redis: Redis, text: str, count: int, *more: Any) -> None:
    script = redis.register_script(text)
    for first in range(1, count + 1, BATCH):
        script(args=[first, min(first + BATCH - 1, count), KEYS.delivery(""), *more])
