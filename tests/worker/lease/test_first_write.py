"""The outcomes of a first run are written in one step with the end of its claim: once, whatever is lost."""

from pathlib import Path

import pytest
from arq.connections import ArqRedis

from receiver.delivery import Delivery
from receiver.queue.scripts import Script
from tests.conftest import hash_of
from tests.worker.conftest import KEYS, Rig, wire
from worker.app import create_services
from worker.lease.claims import Claim, Claims, Ending, FirstWrite
from worker.outcomes import Outcomes
from worker.routes import RouteTable
from worker.transitions import Transition


@pytest.fixture
async def outcomes(rig: Rig) -> Outcomes:
    return create_services(rig.settings(), RouteTable({"*": []}), rig.redis).outcomes


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


async def claimed(rig: Rig) -> Claim:
    [claim] = await Claims(rig.redis, KEYS, KEYS.queue, 5.0).take(1, alone=True)
    return claim


async def is_done_once(rig: Rig, delivery: Delivery) -> bool:
    story, counts = await rig.story(delivery), await hash_of(rig.redis, KEYS.counts)
    return (story["open"], story["payload_kept"], counts["h.a done"]) == (False, True, b"1")


async def test_an_outcome_is_written_with_the_end_of_its_claim(rig: Rig, outcomes: Outcomes) -> None:
    """One step: the record is closed, counted and kept, and the job is gone."""
    delivery = await rig.send("e1")
    run = FirstRun(outcomes, delivery)
    assert await run.end(rig.redis, await claimed(rig))
    assert run.steps == []
    assert await is_done_once(rig, delivery)
    assert await rig.keys("arq:*") == []


async def test_an_outcome_whose_reply_is_lost_with_that_of_its_claim_is_written_once(
    rig: Rig, outcomes: Outcomes, tmp_path: Path
) -> None:
    """Sent again it finds the claim ended; written by itself then, it is found written."""
    delivery = await rig.send("e1")
    run, claim = FirstRun(outcomes, delivery), await claimed(rig)
    await rig.redis.script_load(Script.load("finish.lua").text)
    async with wire(rig.url, tmp_path / "wire", b"EVALSHA\r\n", "reply") as redis:
        assert not await run.end(redis, claim)
    assert run.steps == ["otherwise"]
    assert await is_done_once(rig, delivery)


async def test_an_outcome_is_written_although_the_lease_was_lost(rig: Rig, outcomes: Outcomes) -> None:
    """And the claim of the worker that has taken over is untouched; what that one writes changes nothing."""
    delivery = await rig.send("e1")
    run, lost = FirstRun(outcomes, delivery), await claimed(rig)
    await rig.redis.zadd(KEYS.leases, {lost.job_id: 0})
    held = await claimed(rig)
    assert not await run.end(rig.redis, lost)
    assert (run.steps, await rig.states(delivery)) == (["otherwise"], {"h.a": "done"})
    assert await rig.redis.get(f"arq:in-progress:{held.job_id}") == held.token.encode()
    assert await run.end(rig.redis, held)  # a claim that somebody had before: written before it ends, not with it
    assert run.steps == ["otherwise", "otherwise"]
    assert await is_done_once(rig, delivery)
    assert await rig.keys("arq:*") == []
