"""What an event takes of Redis's memory and disk: docs/scaling.md computes with it."""

from tests.bench import contenders, load
from tests.bench.contenders import Running
from tests.bench.receiver import Bench

EVENTS = 8000


def sizing(bench: Bench) -> None:
    """Bytes of memory for each event that waits for a worker, and of the append-only file for each step of its way."""
    with bench.all_of(contenders.KIT) as (one,):
        for turn in range(bench.rounds):
            bench.tell(f"round {turn + 1}: {EVENTS} events accepted, then handled")
            one.redis.execute_command("FLUSHALL", "SYNC")  # else memory is still being freed while it is looked at
            load.exactly(one.url, 1)  # keys that there is one of
            memory, begun = _used(one), _appended(one)
            load.exactly(one.url, EVENTS)
            accepted = _appended(one)
            bench.book.note("Redis memory · an event that waits", (_used(one) - memory) / EVENTS)
            bench.book.note("disk · an event accepted", (accepted - begun) / EVENTS)
            with one.working():
                one.until_idle()
            bench.book.note("disk · an event handled", (_appended(one) - accepted) / EVENTS)


def _used(one: Running) -> int:
    return int(one.info("memory")["used_memory"])


def _appended(one: Running) -> int:
    return int(one.info("persistence")["aof_current_size"])
