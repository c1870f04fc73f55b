"""Version 0.1 kept the jobs of every prefix in `arq:queue`: this prefix's are taken over, others are left alone."""

import asyncio
from pathlib import Path

from arq.connections import ArqRedis

from receiver.acceptance import ACCEPT, Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.packing import pack_delivery, script_args, script_keys
from receiver.queue.keys import IN_PROGRESS, OLD_QUEUE, Keys
from tests.conftest import Start, until
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from worker import RetryLater
from worker.dead_letters import Operator
from worker.lease.claims import PAGE, Claims
from worker.story import story_of

TEST_SYSTEM = Keys("test:")


async def as_before(redis: ArqRedis, *deliveries: Delivery) -> None:
    """Put the jobs of these where version 0.1 did, or an older receiver still does during a roll-out."""
    for delivery in deliveries:
        score = await redis.zscore(KEYS.queue, delivery.job_id)
        assert score
        await redis.zadd(OLD_QUEUE, {delivery.job_id: score})
        await redis.zrem(KEYS.queue, delivery.job_id)


def claims_of(rig: Rig, keys: Keys = KEYS) -> Claims:
    return Claims(rig.redis, keys, keys.queue, 5.0)


async def test_jobs_of_the_old_queue_are_taken_over_in_their_order(rig: Rig) -> None:
    """Each keeps its place, and is there once."""
    deliveries = [await rig.send(f"e{number}") for number in range(5)]
    order = await rig.redis.zrange(KEYS.queue, 0, -1, withscores=True)
    await as_before(rig.redis, *deliveries)
    moved = await asyncio.gather(*(claims_of(rig).adopt() for _ in range(3)))
    assert sorted(moved) == [0, 0, 5]
    assert await rig.redis.zrange(KEYS.queue, 0, -1, withscores=True) == order
    assert not await rig.redis.exists(OLD_QUEUE)


async def test_jobs_of_others_stay_in_the_old_queue(rig: Rig) -> None:
    """Another prefix's deliveries, jobs of arq's own, and what another worker has begun to run."""
    theirs, running, ours = [delivery_of(body_of(name)) for name in ("theirs", "running", "ours")]
    assert await accept_directly(rig.redis, TEST_SYSTEM, theirs) is Acceptance.STORED
    for one in (running, ours):
        await rig.accept(one)
    await as_before(rig.redis, running, ours)
    await rig.redis.zadd(OLD_QUEUE, {theirs.job_id: 1, "0f8fad5bd9cb469fa165408e1e1f9b4c": 2})
    await rig.redis.set(IN_PROGRESS + running.job_id, "a stock worker's")
    assert await claims_of(rig).adopt() == 1
    left = {job_id.decode() for job_id in await rig.redis.zrange(OLD_QUEUE, 0, -1)}
    assert left == {theirs.job_id, running.job_id, "0f8fad5bd9cb469fa165408e1e1f9b4c"}


async def test_a_long_queue_of_others_is_looked_through_page_by_page(rig: Rig) -> None:
    """What stands behind it is found, and after its end the search begins again."""
    await rig.redis.zadd(OLD_QUEUE, {f"{number:032x}": number + 1 for number in range(PAGE + 10)})
    claims, ours = claims_of(rig), await rig.send("e1")
    await as_before(rig.redis, ours)
    assert [await claims.adopt() for _ in range(2)] == [0, 1]
    later = await rig.send("e2")
    await as_before(rig.redis, later)
    assert [await claims.adopt() for _ in range(2)] == [0, 1]


async def test_two_systems_on_one_redis_never_run_each_others_events(rig: Rig) -> None:
    """A test system's deliveries wait for its own workers, whatever production's have to do."""
    theirs = delivery_of(body_of("theirs"))
    assert await accept_directly(rig.redis, TEST_SYSTEM, theirs) is Acceptance.STORED
    runs: list[int] = []
    ours = await rig.send("ours")
    async with rig.working({"*": [make_handler("act", runs.append)]}):
        await rig.closed(ours)
        await rig.idle()
    assert runs == [1]
    assert await rig.redis.zrange(TEST_SYSTEM.queue, 0, -1) == [theirs.job_id.encode()]


async def test_two_systems_that_get_the_same_event_each_end_it(rig: Rig) -> None:
    """A handler fails in both: neither ends the retry of the other, whose payload would be gone from Redis."""
    both = {KEYS: Operator(rig.redis, KEYS), TEST_SYSTEM: Operator(rig.redis, TEST_SYSTEM)}
    one = delivery_of(body_of("e1"))
    for number, keys in enumerate(both):
        assert await accept_directly(rig.redis, keys, one._replace(received_us=one.received_us + number))
    routes = {"*": [make_handler("act", fail_once)]}
    async with rig.working(routes), rig.working(routes, key_prefix=TEST_SYSTEM.prefix):
        for operator in both.values():
            await until(lambda operator=operator: has_ended(operator, one))  # type: ignore[misc]
    for keys, operator in both.items():
        assert (await story_of(operator, one.id) or {})["handlers"]["h.act"]["state"] == "done"
        assert not await rig.redis.exists(keys.dead)


def fail_once(attempt: int) -> None:
    if attempt == 1:
        raise RetryLater(0.2, "not yet")


async def has_ended(operator: Operator, delivery: Delivery) -> bool:
    story = await story_of(operator, delivery.id)
    return story is not None and not story["open"]


async def test_a_worker_takes_over_while_it_runs(rig: Rig, start: Start, tmp_path: Path) -> None:
    """What an older receiver queues during a roll-out is handled within seconds."""
    (tmp_path / "acts.py").write_text("async def act(event, ctx): ...\nROUTES = {'*': [act]}\n", encoding="utf-8")
    worker = start("-m", "worker", REDIS_URL=rig.url, HANDLERS="acts:ROUTES")
    await asyncio.to_thread(worker.wait_for, "worker running")
    delivery, (_, *keys) = delivery_of(body_of("e1")), script_keys(KEYS)
    assert await ACCEPT(rig.redis, [OLD_QUEUE, *keys], script_args([pack_delivery(KEYS, delivery)])) == [
        Acceptance.STORED
    ]
    await rig.closed(delivery)
    assert await rig.states(delivery) == {"acts.act": "done"}
    assert worker.stop() == 0
