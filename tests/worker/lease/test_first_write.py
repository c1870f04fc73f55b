"""The outcomes of a first run are written in one step with the end of its claim: once, whatever is lost."""

from pathlib import Path

import pytest
from arq.connections import ArqRedis

from receiver.delivery import Delivery
from receiver.queue.scripts import Script
from tests.conftest import hash_of
from tests.worker.conftest import KEYS, Bench, wire
from worker.app import create_services
from worker.lease.claims import Claim, Claims, Ending, FirstWrite
from worker.outcomes import Outcomes, Transition
from worker.routes import RouteTable


@pytest.fixture
async def outcomes(bench: Bench) -> Outcomes:
    return create_services(bench.settings(), RouteTable({"*": []}), bench.redis).outcomes


class FirstRun:
    """A claimed delivery whose only handler succeeded at once, so that its outcome is written with the claim's end."""

    def __init__(self, outcomes: Outcomes, delivery: Delivery) -> None:
        self.steps: list[str] = []
        transitions = [Transition("h.a", 1, "done")]
        row = outcomes.first_row(delivery, transitions)
        assert row

        async def otherwise() -> None:
            self.steps.append("otherwise")
            await outcomes.record(delivery, delivery.job_id, transitions)

        self.ending = Ending("done", first=FirstWrite(row, otherwise))

    async def end(self, redis: ArqRedis, claim: Claim) -> bool:
        return await Claims(redis, KEYS, KEYS.queue, 5.0).end(claim, self.ending)


async def claimed(bench: Bench) -> Claim:
    [claim] = await Claims(bench.redis, KEYS, KEYS.queue, 5.0).take(1, alone=True)
    return claim


async def is_done_once(bench: Bench, delivery: Delivery) -> bool:
    story, counts = await bench.story(delivery), await hash_of(bench.redis, KEYS.counts)
    return (story["open"], story["payload_kept"], counts["h.a done"]) == (False, True, b"1")


async def test_an_outcome_is_written_with_the_end_of_its_claim(bench: Bench, outcomes: Outcomes) -> None:
    """One step: the record is closed, counted and kept, and the job is gone."""
    delivery = await bench.send("e1")
    run = FirstRun(outcomes, delivery)
    assert await run.end(bench.redis, await claimed(bench))
    assert run.steps == []
    assert await is_done_once(bench, delivery)
    assert await bench.keys("arq:*") == []


async def test_an_outcome_whose_reply_is_lost_with_that_of_its_claim_is_written_once(
    bench: Bench, outcomes: Outcomes, tmp_path: Path
) -> None:
    """Sent again it finds the claim ended; written by itself then, it is found written."""
    delivery = await bench.send("e1")
    run, claim = FirstRun(outcomes, delivery), await claimed(bench)
    await bench.redis.script_load(Script.load("finish.lua").text)
    async with wire(bench.url, tmp_path / "wire", b"EVALSHA\r\n", "reply") as redis:
        assert not await run.end(redis, claim)
    assert run.steps == ["otherwise"]
    assert await is_done_once(bench, delivery)


async def test_an_outcome_is_written_although_the_lease_was_lost(bench: Bench, outcomes: Outcomes) -> None:
    """And the claim of the worker that has taken over is untouched; what that one writes changes nothing."""
    delivery = await bench.send("e1")
    run, lost = FirstRun(outcomes, delivery), await claimed(bench)
    await bench.redis.zadd(KEYS.leases, {lost.job_id: 0})
    held = await claimed(bench)
    assert not await run.end(bench.redis, lost)
    assert (run.steps, await bench.states(delivery)) == (["otherwise"], {"h.a": "done"})
    assert await bench.redis.get(f"arq:in-progress:{held.job_id}") == held.token.encode()
    assert await run.end(bench.redis, held)  # a claim that somebody had before: written before it ends, not with it
    assert run.steps == ["otherwise", "otherwise"]
    assert await is_done_once(bench, delivery)
    assert await bench.keys("arq:*") == []
