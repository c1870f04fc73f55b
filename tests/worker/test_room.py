"""Room for live work: what is kept for convenience yields first, then what is dead; nothing dead is lost."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receiver.acceptance import Acceptance, accept_directly
from receiver.delivery import Delivery
from receiver.doctor import redis_server
from receiver.queue import room
from receiver.queue.jobs import pack_job
from receiver.queue.room import Room
from tests.conftest import hash_of, until
from tests.worker.conftest import KEYS, Rig, body_of, delivery_of, make_handler
from tests.worker.test_dead_letters import Command
from worker import GiveUp
from worker.burying import bury_unchanged
from worker.elsewhere import PayloadElsewhere
from worker.letter import DeadLetter
from worker.outcomes import Keep, Outcomes
from worker.transitions import Transition

LARGE = 100_000


def noise(count: int = LARGE) -> str:
    """What compression makes little smaller."""
    return os.urandom(count // 2).hex()


def give_up(_: int) -> None:
    raise GiveUp("not today")


@asynccontextmanager
async def served(*rooms: Room) -> AsyncIterator[None]:
    """These rooms as their receivers serve them, but more often."""

    async def serve() -> None:
        while True:
            for one in rooms:
                await one.serve()
            await asyncio.sleep(0.02)

    serving = asyncio.create_task(serve())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait([serving])


@pytest.fixture
def mine(rig: Rig, tmp_path: Path) -> Room:
    """The room of a receiver."""
    return Room(rig.redis, KEYS, tmp_path / "dead")


async def die(rig: Rig, *deliveries: Delivery) -> list[DeadLetter]:
    """These deliveries' dead letters, oldest first, without their payloads."""
    async with rig.working({"*": [make_handler("act", give_up)]}, keep_payloads=0):
        await rig.closed(*deliveries)
    return await rig.letters()


async def is_moved(rig: Rig, letter: DeadLetter) -> bool:
    fields = await hash_of(rig.redis, KEYS.dead_letter(letter.id))
    assert ("moved" in fields) != ("job" in fields or "zjob" in fields)
    return "moved" in fields


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "name") if folder.exists() else []


# ── making room ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_payloads_move_oldest_first_and_only_as_many_as_have_to(rig: Rig, mine: Room, tmp_path: Path) -> None:
    """Below the mark nothing moves; above it what makes the difference, and the letter is still listed as it was."""
    letters = [(await die(rig, await rig.send(f"e{number}", pad=noise())))[-1] for number in range(3)]
    await mine.make(59, 100)
    await mine.make(10**9, 0)
    assert files(tmp_path / "dead") == []
    size = len((await hash_of(rig.redis, KEYS.dead_letter(letters[0].id)))["zjob"])
    await mine.make(60_000_000 + size, 100_000_000)
    assert [await is_moved(rig, letter) for letter in letters] == [True, False, False]
    await mine.make(60_000_000 + 5 * LARGE, 100_000_000)
    assert [await is_moved(rig, letter) for letter in letters] == [True, True, True]
    assert len(files(tmp_path / "dead")) == 3
    async with served(mine):
        assert await rig.letters() == letters


async def test_the_largest_of_a_page_moves_first(rig: Rig, mine: Room) -> None:
    """Fewer files for the same room."""
    deliveries = [await rig.send(f"e{size}", pad=noise(size)) for size in (5000, LARGE, 7000)]
    letters = {letter.delivery: letter for letter in await die(rig, *deliveries)}
    await mine.make(60_000_000 + 50_000, 100_000_000)
    moved = [await is_moved(rig, letters[delivery.id]) for delivery in deliveries]
    assert moved == [False, True, False]


async def test_conflicts_and_foreign_jobs_move_too(rig: Rig, mine: Room) -> None:
    """Whatever is kept until somebody drops it."""
    first, other = (delivery_of(body_of("e1", pad=noise())) for _ in range(2))
    await rig.accept(first)
    assert await accept_directly(rig.redis, KEYS, other) is Acceptance.CONFLICT
    foreign = pack_job("not_ours", [noise()], 5)
    await bury_unchanged(rig.redis, KEYS, "j1", foreign, "no function")
    before = await rig.letters()
    await mine.make(10**9, 10**9)
    assert [await is_moved(rig, letter) for letter in before] == [True, True]
    async with served(mine):
        assert await rig.letters() == before


async def test_kept_payloads_yield_before_dead_letters(rig: Rig, mine: Room) -> None:
    """Oldest first, and `show` says that they are no longer there."""
    done = [await rig.send(f"done{number}", pad=noise()) for number in range(3)]
    for delivery in done:
        async with rig.working({"*": [make_handler("act")]}):
            await rig.closed(delivery)
    [letter] = await die(rig, await rig.send("dead", pad=noise()))
    await mine.make(60_000_000 + LARGE + 1000, 100_000_000)
    assert [(await rig.story(delivery))["payload_kept"] for delivery in done] == [False, False, True]
    assert not await is_moved(rig, letter)
    await mine.make(10**9, 10**9)
    assert not (await rig.story(done[2]))["payload_kept"]
    assert await is_moved(rig, letter)
    assert await rig.redis.get(KEYS.kept_bytes) == b"0"
    assert not await rig.redis.exists(KEYS.kept)


async def test_a_letter_that_was_replaced_meanwhile_is_left_alone(
    rig: Rig, mine: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replayed and dead again, or dropped, between the file and Redis: the file goes, the letter stays as it is."""
    one, other = await die(rig, *[await rig.send(name, pad=noise()) for name in ("e1", "e2")])
    write = Room._write

    def meanwhile(self: Room, file: str, data: bytes) -> None:
        write(self, file, data)
        changed.set()
        assert may_go_on.wait(5)

    changed, may_go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(Room, "_write", meanwhile)
    making = asyncio.create_task(mine.make(10**9, 10**9))
    await asyncio.to_thread(changed.wait)
    await rig.operator.drop(one)
    await rig.redis.execute_command("HSET", KEYS.dead_letter(other.id), "at", 1)
    may_go_on.set()
    await making
    assert not await rig.redis.exists(KEYS.dead_letter(one.id))
    assert len(files(tmp_path / "dead")) == int(await is_moved(rig, other))


async def test_two_receivers_that_move_the_same_letter_keep_it_once(rig: Rig, tmp_path: Path) -> None:
    """On one host with one folder, or on two: who comes second takes its own file away again."""
    rooms = [Room(rig.redis, KEYS, tmp_path / name) for name in ("one", "one", "other")]
    letters = await die(rig, *[await rig.send(f"e{number}", pad=noise()) for number in range(6)])
    await asyncio.gather(*(one.make(10**9, 10**9) for one in rooms))
    assert all([await is_moved(rig, letter) for letter in letters])
    kept = [*files(tmp_path / "one"), *files(tmp_path / "other")]
    assert len(kept) == 6
    async with served(*rooms):
        assert await rig.letters() == letters


async def test_a_folder_that_cannot_be_written_is_said_and_nothing_moves(rig: Rig, tmp_path: Path) -> None:
    """The payload stays where it is; one line, not one a second."""
    (tmp_path / "file").touch()
    mine = Room(rig.redis, KEYS, tmp_path / "file" / "dead")
    [letter] = await die(rig, await rig.send("e1", pad=noise()))
    with capture_logs() as logs:
        for _ in range(3):
            await mine.make(10**9, 10**9)
    assert [line["event"] for line in logs] == ["payloads of dead letters cannot be moved out of redis"]
    assert not await is_moved(rig, letter)


# ── and back ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_moved_payload_is_replayed_from_any_host_and_its_file_goes(
    rig: Rig, mine: Room, tmp_path: Path
) -> None:
    """Asked for through Redis; the file is there until the dead letter is not."""
    delivery = await rig.send("e1", pad=noise())
    [letter] = await die(rig, delivery)
    await mine.make(10**9, 10**9)
    async with served(mine):
        shown = await rig.operator.with_payload(letter)
        assert shown.body() == delivery.body
        assert len(files(tmp_path / "dead")) == 1
        assert await rig.operator.replay_letter(letter)
        await until(lambda: _is_empty(tmp_path / "dead"))
    async with rig.working({"*": [make_handler("act")]}):
        await rig.closed(delivery)
    assert await rig.states(delivery) == {"h.act": "done"}
    assert await rig.keys("*recalled*") == []


async def _is_empty(folder: Path) -> bool:
    return not await asyncio.to_thread(files, folder)


async def test_a_dropped_dead_letter_takes_its_file_with_it(rig: Rig, mine: Room, tmp_path: Path) -> None:
    """At once, or when the receiver that has it runs again."""
    [letter] = await die(rig, await rig.send("e1", pad=noise()))
    await mine.make(10**9, 10**9)
    assert await rig.operator.drop(letter)
    assert len(files(tmp_path / "dead")) == 1
    await Room(rig.redis, KEYS, tmp_path / "dead").serve()
    assert files(tmp_path / "dead") == []
    assert await rig.keys(f"{KEYS.prefix}unneeded:*") == []


async def test_a_late_success_takes_the_file_with_it(rig: Rig, mine: Room, tmp_path: Path) -> None:
    """Two ran a handler, and the one that was overtaken succeeded: its dead letter is none any more."""
    delivery = await rig.send("e1", pad=noise())
    await die(rig, delivery)
    await mine.make(10**9, 10**9)
    outcomes = Outcomes(rig.redis, KEYS, rig.settings(), Keep(0, 0))
    await outcomes.record(delivery, delivery.job_id, [Transition("h.act", 1, "done")])
    await mine.serve()
    assert files(tmp_path / "dead") == []


async def test_an_emptied_redis_takes_no_file_away(rig: Rig, mine: Room, tmp_path: Path) -> None:
    """That Redis does not know a dead letter is no reason: it knows nothing at all."""
    await die(rig, await rig.send("e1", pad=noise()))
    await mine.make(10**9, 10**9)
    await rig.redis.flushall()
    await mine.serve()
    assert len(files(tmp_path / "dead")) == 1


async def test_without_its_receiver_one_line_says_where_a_payload_is(
    rig: Rig, mine: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host, folder and file; of several in one folder only the first is waited for."""
    monkeypatch.setattr("worker.elsewhere.RECALLS", 1)
    letters = await die(rig, *[await rig.send(f"e{number}", pad=noise()) for number in range(3)])
    await mine.make(10**9, 10**9)
    async with asyncio.timeout(2):
        for letter in letters:
            with pytest.raises(PayloadElsewhere, match=f"{letter.id}: its payload is in {tmp_path}/dead/") as said:
                await rig.operator.replay_letter(letter)
            assert os.uname().nodename in str(said.value)
    assert len(await rig.redis.zrange(KEYS.dead, 0, -1)) == 3
    command = Command(rig.url, tmp_path, process=False)
    lines = (await command("dead", "replay", "--all", "--yes", code=2)).splitlines()
    by_acceptance = sorted(letters, key=lambda letter: letter.accepted)
    assert [line.partition(": its payload is in ")[0] for line in lines] == [letter.id for letter in by_acceptance]
    assert (await command("dead", "show", letters[0].id, code=2)).count("\n") == 1


async def test_names_of_files_that_are_none_of_ours_are_not_opened(rig: Rig, mine: Room, tmp_path: Path) -> None:
    """Whoever can write to Redis can neither read nor remove other files through a receiver."""
    await die(rig, await rig.send("e1", pad=noise()))
    await mine.make(10**9, 10**9)
    await mine.serve()
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    for key in (KEYS.unneeded(mine._name), KEYS.wanted(mine._name)):
        await rig.redis.execute_command("SADD", key, "../secret", "name", "")
    await mine.serve()
    assert (tmp_path / "secret").exists()
    assert (tmp_path / "dead" / "name").exists()
    assert await rig.keys("*recalled*") == []
    assert await rig.keys(f"{KEYS.prefix}wanted:*") == []


async def test_doctor_says_how_many_moved_and_where(rig: Rig, mine: Room, tmp_path: Path) -> None:
    """By host and folder; all in Redis is well."""
    await die(rig, *[await rig.send(f"e{number}", pad=noise()) for number in range(2)])
    assert (await redis_server._dead_letters(KEYS, rig.redis)).seen == "2, all in Redis"
    await mine.make(10**9, 10**9)
    host = os.uname().nodename
    assert await room.moved(rig.redis, KEYS) == {f"{host}:{tmp_path}/dead": 2}
    finding = await redis_server._dead_letters(KEYS, rig.redis)
    assert (finding.level, f"2 in {host}:{tmp_path}/dead" in finding.seen) == ("warning", True)
