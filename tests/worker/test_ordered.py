"""`ordered(handler)`: one subject's events one after the other, in the order of acceptance, across all workers."""

import asyncio
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis import Redis

from receiver import events
from receiver.environment import SettingsError
from receiver.idempotency import IdempotencyRule
from receiver.intake import accept_directly
from receiver.queue.keys import Keys
from tests.conftest import Start, wait_until
from worker import Context, Event, ordered
from worker.routes import RouteTable

KEYS = Keys("glartek:")
SOURCES = IdempotencyRule(["event-id", "body"], events.EVENT_ID_PATHS, events.EVENT_TYPE_PATHS)
HANDLERS = """
import asyncio, os, random
from pathlib import Path
from worker import ordered

JOURNAL = Path(os.environ["JOURNAL"])

def note(*words):
    with JOURNAL.open("a") as journal:
        journal.write(" ".join(map(str, words)) + "\\n")

async def update(event, ctx):
    note("start", event.subject.id, event.payload["number"])
    await asyncio.sleep(random.uniform(0, 0.01))
    if event.payload.get("fails") and ctx.attempt < 3:
        raise RuntimeError("not yet")
    note("end", event.subject.id, event.payload["number"])

ROUTES = {"work_order.updated": [ordered(update)], "work_order.completed": [ordered(update)]}
"""


async def accept(redis: ArqRedis, number: int, subject: str, *, fails: bool = False) -> None:
    kind = "completed" if number % 3 == 0 else "updated"
    body = (
        f'{{"id": "evt_{subject}_{number}", "type": "work_order.{kind}", "number": {number},'
        f' "fails": {str(fails).lower()}, "work_order": {{"id": "{subject}"}}}}'
    )
    await accept_directly(redis, KEYS, SOURCES.delivery({}, body.encode(), time.time_ns() // 1000))


def ends(journal: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for line in journal.read_text(encoding="utf-8").splitlines():
        what, subject, number = line.split()
        if what == "end":
            found[subject].append(int(number))
    return found


@pytest.fixture
def worker_settings(tmp_path: Path, valkey_url: str) -> dict[str, str]:
    (tmp_path / "in_order.py").write_text(HANDLERS, encoding="utf-8")
    (tmp_path / "journal").touch()
    return {
        "REDIS_URL": valkey_url,
        "HANDLERS": "in_order:ROUTES",
        "JOURNAL": str(tmp_path / "journal"),
        "RETRY_BASE": "0.2s",
        "LEASE": "1s",
    }


async def test_events_of_one_subject_are_handled_in_the_order_of_acceptance(
    redis: ArqRedis, start: Start, worker_settings: dict[str, str], tmp_path: Path
) -> None:
    """Two workers, one of them killed: each subject's events end once each and in order, some after retries."""
    subjects, count = [f"wo{n}" for n in range(8)], 25
    for number in range(count):
        for subject in subjects:
            await accept(redis, number, subject, fails=subject == "wo3" and number == 4)
    workers = [start("-m", "worker", **worker_settings) for _ in range(2)]
    await asyncio.to_thread(wait_until, lambda: sum(map(len, ends(tmp_path / "journal").values())) > 40)
    workers[0].signal(signal.SIGKILL)
    await asyncio.to_thread(
        wait_until,
        lambda: all(set(ends(tmp_path / "journal")[subject]) == set(range(count)) for subject in subjects),
        40,
    )
    for subject, numbers in ends(tmp_path / "journal").items():
        once = list(dict.fromkeys(numbers))  # the one that the kill interrupted may end twice
        assert once == list(range(count)), subject
        assert len(numbers) <= count + 1


async def test_a_failing_event_holds_back_its_own_subject_only(
    redis: ArqRedis, start: Start, worker_settings: dict[str, str], tmp_path: Path
) -> None:
    """While one subject's event waits for its retry, another subject's events are all handled."""
    await accept(redis, 1, "stuck", fails=True)
    for number in (2, 3):
        await accept(redis, number, "stuck")
        await accept(redis, number, "free")
    start("-m", "worker", **worker_settings | {"RETRY_BASE": "4s"})
    journal = tmp_path / "journal"
    await asyncio.to_thread(wait_until, lambda: ends(journal)["free"] == [2, 3])
    assert ends(journal)["stuck"] == []
    await asyncio.to_thread(wait_until, lambda: ends(journal)["stuck"] == [1, 2, 3], 30)


async def test_no_line_is_left_behind(
    redis: ArqRedis, start: Start, worker_settings: dict[str, str], valkey_url: str
) -> None:
    """When everything is done no line, lease or job is left in Redis, and every record has its lifetime."""
    for number in range(10):
        await accept(redis, number, "wo")
    start("-m", "worker", **worker_settings)

    def is_clean() -> bool:
        with Redis.from_url(valkey_url) as client:
            keys = client.keys("*")
            left = [key for key in keys if b":turn:" in key or key == b"glartek:leases" or key.startswith(b"arq:job:")]
            return not left and all(client.ttl(key) > 0 for key in keys if b":delivery:" in key)

    await asyncio.to_thread(wait_until, is_clean)


async def handle(event: Event, ctx: Context) -> None: ...


def test_a_handler_is_ordered_in_every_route_or_in_none() -> None:
    """`ordered(h)` is one handler however often it is written, and mixing it with a plain `h` stops the start."""
    table = RouteTable({"action.created": [ordered(handle)], "action.solved": [ordered(handle)]})
    assert list(table.by_name) == ["test_ordered.handle"]
    assert table.ordered == {"action.created": ["test_ordered.handle"], "action.solved": ["test_ordered.handle"]}
    with pytest.raises(SettingsError, match="use ordered\\(\\) in every route"):
        RouteTable({"action.created": [ordered(handle)], "action.solved": [handle]})
