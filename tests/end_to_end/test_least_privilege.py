"""The whole kit with a Redis user that may do exactly what the README says, and with one that may do less."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ResponseError

from receiver.acceptance import ACCEPT, Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.queue.connection import connect
from receiver.queue.jobs import pack_job
from receiver.queue.keys import Keys
from receiver.queue.permissions import NICE_TO_KNOW, rules
from receiver.queue.scripts import Script
from receiver.queue.valkey import embedded
from tests.conftest import TOKEN, Process, Start, hash_of, until
from tests.receiver.conftest import Receiver, event, listening
from tests.worker.conftest import body_of, delivery_of
from worker.burying import bury_unchanged
from worker.dead_letters import Operator
from worker.lease.claims import Claims, Ending
from worker.outcomes import dead_letter_id
from worker.transitions import retry_job

KEYS = Keys("glartek:")
HANDLERS = """
from pathlib import Path
from worker import GiveUp, RetryLater, in_order

async def act(event, ctx):
    wish = event.payload.get("wish")
    if wish == "later" and ctx.attempt == 1:
        raise RetryLater(0.1, "not yet")
    if wish == "dies" and not Path("mended").exists():
        raise GiveUp("not today")
    if wish == "fails" and ctx.attempt < 3:
        raise OSError("away")

async def one_by_one(event, ctx):
    pass

ROUTES = {"*": [act, in_order(one_by_one)]}
"""
LARGE = 300_000


class Site:
    """A Valkey whose user `kit` has some rules, and the kit that uses it."""

    def __init__(self, redis: ArqRedis, url: str, start: Start, folder: Path) -> None:
        self.redis, self._start, self.folder = redis, start, folder
        self.url = url.replace("unix://", "unix://kit:secret@")
        (folder / "acts.py").write_text(HANDLERS, encoding="utf-8")
        self._env = {
            "REDIS_URL": self.url,
            "HANDLERS": "acts:ROUTES",
            "WEBHOOK_TOKEN": TOKEN,
            "SPOOL_PATH": str(folder / "data" / "spool.db"),
            "RETRY_BASE": "0.01s",
            "PORT": "0",
        }

    async def allow(self, *acl: str) -> None:
        await self.redis.execute_command("ACL SETUSER", "kit", "reset", "on", ">secret", *acl)

    @asynccontextmanager
    async def refusing(self, command: str) -> AsyncIterator[None]:
        """The rules of the README but for one command, while the block runs."""
        await self.allow(*rules(KEYS.prefix), f"-{command.lower()}")
        yield
        await self.allow(*rules(KEYS.prefix))

    async def accepted(self, name: str) -> Delivery:
        """A delivery that is stored."""
        delivery = delivery_of(body_of(name))
        await accept_directly(self.redis, KEYS, delivery)
        return delivery

    async def receiver(self) -> Receiver:
        return await asyncio.to_thread(lambda: listening(self.run("-m", "receiver")))

    def run(self, *arguments: str) -> Process:
        return self._start(*arguments, **self._env)

    async def say(self, *arguments: str, code: int = 0) -> Any:
        """What a command prints as JSON."""
        process = self.run("-m", *arguments, "--json")
        assert await asyncio.to_thread(process.wait) == code, process.output
        return json.loads(process.output)

    async def denied(self) -> set[str]:
        """What the server refused, but for what is only nice to know."""
        nice = {name.lower() for name in NICE_TO_KNOW} | {"client|setinfo"}
        return {entry["object"] for entry in await self.redis.acl_log()} - nice


@pytest.fixture
async def site(tmp_path: Path, start: Start) -> AsyncIterator[Site]:
    with embedded(tmp_path / "valkey") as url:
        redis = connect(url)
        yield Site(redis, url, start, tmp_path)
        await redis.aclose()


@pytest.fixture
async def client(site: Site) -> AsyncIterator[ArqRedis]:
    """Of the kit's user."""
    await site.allow(*rules(KEYS.prefix))
    client = connect(site.url)
    yield client
    await client.aclose()


async def post(receiver: Receiver, name: str, **more: object) -> None:
    answer = await asyncio.to_thread(receiver.post, event(name, **more))
    assert answer.status == 200


@pytest.mark.parametrize("more", [(), tuple(f"+{name.lower()}" for name in NICE_TO_KNOW)], ids=["least", "nice"])
async def test_everything_works_with_the_rules_of_the_readme(site: Site, more: tuple[str, ...]) -> None:
    """Receiving, duplicates, conflicts, retries, dead letters, replay, show and doctor: nothing needed is refused."""
    await site.allow(*rules(KEYS.prefix), *more)
    receiver, worker = await site.receiver(), site.run("-m", "worker")
    await asyncio.to_thread(worker.wait_for, "worker running")
    for name, told in {"plain": {}, "retried": {"wish": "fails"}, "asked": {"wish": "later"}}.items():
        await post(receiver, name, action={"id": "a1"}, **told)
    await post(receiver, "plain", action={"id": "a1"})
    await post(receiver, "plain", other=True)
    await post(receiver, "dead", wish="dies", padding=os.urandom(LARGE // 2).hex())
    await until(lambda: is_settled(site, done=3, dead=1))
    assert (await site.say("worker", "show", "plain"))["payload_kept"]
    [letter] = await site.say("worker", "dead", "list", "--kind", "dead")
    [conflict] = await site.say("worker", "dead", "list", "--kind", "conflict")
    if more:  # without INFO nobody knows how full it is
        await until(lambda: is_moved_when_memory_is_short(site, KEYS.dead_letter(letter["id"])))
        await site.redis.config_set("maxmemory", 0)
    assert len((await site.say("worker", "dead", "show", letter["id"]))["payload"]) > LARGE
    (site.folder / "mended").touch()
    assert await site.say("worker", "dead", "replay", letter["id"]) == {"replayed": 1, "chosen": 1}
    assert await site.say("worker", "dead", "drop", conflict["id"]) == {"dropped": 1, "chosen": 1}
    await until(lambda: is_settled(site, done=4, dead=0))
    findings = {finding["check"]: finding for finding in await site.say("receiver", "doctor")}
    assert findings["permissions"]["level"] == "ok"
    assert {name for name, finding in findings.items() if finding["level"] == "unsafe"} <= {"spool"}
    assert await site.denied() == set()
    assert worker.stop() == receiver.process.stop() == 0
    assert await site.denied() == set()


async def is_settled(site: Site, done: int, dead: int) -> bool:
    counts = await hash_of(site.redis, KEYS.counts)
    settled = int(counts.get("acts.act done", 0)), int(counts.get("acts.act dead", 0))
    return settled == (done, dead) and not await site.redis.zunion([KEYS.queue, KEYS.leases])


async def is_moved_when_memory_is_short(site: Site, dead_letter: str) -> bool:
    """Short by what is used now: buffers of the commands before are freed meanwhile, a tenth of it."""
    used = (await site.redis.info("memory"))["used_memory"]
    await site.redis.config_set("maxmemory", round(used / 0.7))
    return bool(await site.redis.execute_command("HEXISTS", dead_letter, "moved"))


async def test_a_worker_that_may_not_work_says_so_and_ends(site: Site) -> None:
    """Exit code 2 with one line: the command, and the rule to add."""
    await site.allow(*rules(KEYS.prefix), "-time", "-copy")
    worker = site.run("-m", "worker")
    assert await asyncio.to_thread(worker.wait) == 2
    assert worker.output == "the Redis user may not run COPY, TIME: add +copy +time\n"


async def test_a_worker_finds_out_when_redis_is_back(site: Site) -> None:
    """What is refused by a Redis that was frozen at the start ends the worker once it answers."""
    await site.allow(*rules(KEYS.prefix), "-zadd")
    server = (await site.redis.info("server"))["process_id"]
    os.kill(server, signal.SIGSTOP)
    try:
        worker = site.run("-m", "worker")
        await asyncio.to_thread(worker.wait_for, "worker running")
    finally:
        os.kill(server, signal.SIGCONT)
    assert await asyncio.to_thread(worker.wait) == 2
    assert "the Redis user may not run ZADD: add +zadd\n" in worker.output


async def test_a_receiver_that_may_not_store_spools_and_says_so(site: Site) -> None:
    """Loudly, with the rule to add; `doctor` calls it unsafe; once it is allowed everything arrives, once."""
    await site.allow(*rules(KEYS.prefix), "-hset")
    receiver = await site.receiver()
    await post(receiver, "one")
    await asyncio.to_thread(receiver.process.wait_for, "the Redis user may not run HSET: add +hset")
    findings = {finding["check"]: finding for finding in await site.say("receiver", "doctor", code=1)}
    assert findings["permissions"] == {
        "check": "permissions",
        "level": "unsafe",
        "seen": "the Redis user may not run HSET",
        "mend": "add +hset",
    }
    await site.allow(*rules(KEYS.prefix))
    worker = site.run("-m", "worker")
    await until(lambda: is_settled(site, done=1, dead=0))
    assert worker.stop() == 0


def commands_of(script: Script) -> list[str]:
    return sorted(set(re.findall(r"redis.call\('(\w+)'", script.text)))


async def test_no_refused_command_leaves_a_record_without_its_job(site: Site, client: ArqRedis) -> None:
    """Whatever is refused in the middle of storing: once it is allowed the same batch is stored whole."""
    for command in commands_of(ACCEPT):
        one = delivery_of(body_of(command))
        async with site.refusing(command):
            with suppress(ResponseError):
                await accept_directly(client, KEYS, one)
        assert await accept_directly(client, KEYS, one) is Acceptance.STORED
        assert await site.redis.exists(f"arq:job:{one.job_id}", KEYS.delivery(one.id)) == 2, command
        assert await site.redis.zscore(KEYS.queue, one.job_id), command


async def test_no_refused_command_strands_a_job_that_is_claimed(site: Site, client: ArqRedis) -> None:
    """A job that waits, and one whose worker was lost: once the command is allowed it is claimed, and no crash more."""
    claims = Claims(client, KEYS, KEYS.queue, 60.0)
    for command in commands_of(Script.load("claim.lua")):
        one = await site.accepted(command)
        for crashes in (0, 1):
            await site.redis.zadd(KEYS.leases, {one.job_id: 0}, xx=True)
            held = []
            async with site.refusing(command):
                for _ in range(3):
                    with suppress(ResponseError):
                        held += await claims.take(1, alone=True)
            if not held:
                await site.redis.zadd(KEYS.leases, {one.job_id: 0}, xx=True)
                held = await claims.take(1, alone=True)
            assert [(claim.job_id, claim.crashes) for claim in held] == [(one.job_id, crashes)], command
        assert await claims.end(held[0], Ending("done"))


async def has_ended_or_failed(site: Site, end: "asyncio.Future[bool]", command: str) -> bool:
    return end.done() or command.lower() in await site.denied()


@pytest.mark.parametrize("ending", [Ending("done"), Ending("again"), Ending("release")], ids=lambda ending: ending.how)
async def test_no_refused_command_strands_a_job_that_ends(site: Site, client: ArqRedis, ending: Ending) -> None:
    """It is in the queue again, or gone with its lease, once the command is allowed."""
    claims = Claims(client, KEYS, KEYS.queue, 60.0)
    for command in commands_of(Script.load("finish.lua")):
        one = await site.accepted(command)
        [claim] = await claims.take(1, alone=True)
        await site.redis.execute_command("ACL LOG", "RESET")
        async with site.refusing(command):
            end = asyncio.ensure_future(claims.end(claim, ending))
            await until(partial(has_ended_or_failed, site, end, command))
        assert await end, command
        assert not await site.redis.exists(KEYS.leases), command
        if ending.how != "done":
            [claim] = await claims.take(1, alone=True)
            assert claim.job_id == one.job_id, command
            assert await claims.end(claim, Ending("done"))
        assert not await site.redis.keys("arq:*"), command


async def bury(site: Site, script: str, name: str) -> str:
    """A dead letter that this script replays; its id."""
    if script == "drop.lua":
        await bury_unchanged(site.redis, KEYS, name, pack_job("f", [], 1), "no such function")
        return f"{name}:job"
    delivery = delivery_of(body_of(name))
    dead_id = dead_letter_id(delivery.id, "acts.act")
    job = retry_job(delivery, "acts.act", 2, 0, 0)
    fields = ("kind", "dead", "handler", "acts.act", "tries", 1, "at", 1, "job", job)
    await site.redis.execute_command("HSET", KEYS.dead_letter(dead_id), *fields)
    await site.redis.zadd(KEYS.dead, {dead_id: 1})
    return dead_id


@pytest.mark.parametrize("script", ["drop.lua", "replay.lua"])
async def test_no_refused_command_loses_a_dead_letter(site: Site, client: ArqRedis, script: str) -> None:
    """Whatever is refused in the middle of a replay, it is there and can be replayed once the command is allowed."""
    for command in commands_of(Script.load(script)):
        dead_id = await bury(site, script, command)
        letter = await Operator(site.redis, KEYS).letter(dead_id)
        assert letter
        async with site.refusing(command):
            with suppress(ResponseError):
                await Operator(client, KEYS).replay_letter(letter)
        if await site.redis.exists(KEYS.dead):
            assert await Operator(client, KEYS).replay_letter(letter), command
        [(job_id, _)] = await site.redis.zpopmin(KEYS.queue)
        assert await site.redis.exists(f"arq:job:{job_id.decode()}"), command
        assert not await site.redis.exists(KEYS.dead), command
