"""The measures of the worker: from accepted to handled, and what stays in memory."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import cast

from tests.bench import contenders, load
from tests.bench.book import percentile
from tests.bench.contenders import Contender, Running
from tests.bench.processes import BenchError
from tests.bench.receiver import Bench

EVENTS = 8000
"""Through one Valkey, and through two together."""


def starting(bench: Bench) -> None:
    """From POST to the handler's first line, at 100 events a second."""
    with bench.all_of(contenders.KIT_ALWAYS, contenders.TEXTBOOK) as all_running:
        for one in bench.turns(all_running):
            journal = one.home / "journal"
            journal.unlink(missing_ok=True)
            with one.working(HANDLERS="tests.bench.handlers:STARTED", JOURNAL=str(journal)):
                load.open_loop(one.url, 100, 1)  # until the worker runs and has its scripts
                one.until_idle()
                journal.write_text("", encoding="ascii")
                load.open_loop(one.url, 100, bench.seconds)
                one.until_idle()
            waits = [int(line) / 1e6 for line in _lines(journal)]
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                bench.book.note(f"started {name} · {one.contender.name}", percentile(waits, share))
            one.forget()


def idle(bench: Bench) -> None:
    """What receiver and worker use when there is nothing to do, in percent of a core."""
    seconds = 30.0 if bench.full else 10.0
    with bench.all_of(contenders.KIT_ALWAYS) as (one,), one.working() as (worker,):
        load.exactly(one.url, 100)
        one.until_idle()
        bench.tell(f"{seconds:g} s of nothing")
        time.sleep(2)
        before = one.receiver.cpu() + worker.cpu()
        time.sleep(seconds)
        used = one.receiver.cpu() + worker.cpu() - before
        bench.book.note(f"idle CPU · {one.contender.name}", used / seconds * 100)


def draining(bench: Bench) -> None:
    """Events per second through three trivial handlers, from a queue that was filled before."""
    textbook = replace(contenders.TEXTBOOK, env={"JOBS": "3"}, jobs=3)
    tuned = replace(textbook, name="textbook, tuned", env={"JOBS": "3", "TUNED": "1"})
    two = replace(contenders.KIT, name="kit, everysec, two workers", workers=2)
    counts = {contenders.KIT.name: 20_000, two.name: 40_000, textbook.name: 300, tuned.name: 1500}
    some: list[Contender] = [textbook, tuned, contenders.KIT, two]
    if bench.with_bullmq:
        some.append(contenders.BULLMQ)
        counts[contenders.BULLMQ.name] = 12000
    with bench.all_of(*some) as all_running:
        for one in bench.turns(all_running):
            drain(bench, one, counts[one.contender.name])


def same_work(bench: Bench) -> None:
    """The same with one trivial handler, beside one BullMQ job that does as little; and what a log line costs."""
    kit = replace(contenders.KIT, name="kit, one handler", env=contenders.ONE_HANDLER)
    talking = replace(kit, name="kit, one handler, level info", env={**kit.env, "LOG_LEVEL": "info"})
    some: list[Contender] = [kit, talking]
    if bench.with_bullmq:
        some.append(replace(contenders.BULLMQ, name="Fastify + BullMQ, one handler", env=contenders.ONE_HANDLER))
    some += [contenders.with_python(kit, bench.python)] if bench.python else []
    with bench.all_of(*some) as all_running:
        for one in bench.turns(all_running):
            drain(bench, one, 12_000)
    silent, loud = (bench.book.values(f"worker CPU · {one.name}", None) for one in (kit, talking))
    for quiet, line in zip(silent, loud, strict=True):
        bench.book.note("log line CPU · kit", line - quiet)


def carrying(bench: Bench) -> None:
    """What a Valkey spends on an event from POST to done, and so how many it can carry: one alone, and two apart.

    One has two receivers and two workers; each of the two, which are loaded at the same time, has one of both.
    """
    kit = replace(contenders.KIT, name="kit, two and two", receivers=2, workers=2)
    shards = [replace(contenders.KIT, name=f"kit, shard {number}") for number in (1, 2)]
    with bench.all_of(kit, *shards) as (one, *several), ExitStack() as stack:
        for running in (one, *several):
            stack.enter_context(running.working(running.contender.workers))
        _through([one, *several], 500)  # connections, scripts
        for turn in range(bench.rounds):
            bench.tell(f"round {turn + 1}: {EVENTS} events through one Valkey, and through two")
            [alone] = _through([one], EVENTS)
            bench.book.note(f"Redis CPU, POST to done · {kit.name}", alone * 1e6)
            bench.book.note("carried/s · one Valkey", 1 / alone)
            each = _through(several, EVENTS)
            bench.book.note("Redis CPU, POST to done · kit, two shards", sum(each) / len(each) * 1e6)
            bench.book.note("carried/s · two Valkeys", sum(1 / used for used in each))


def _through(several: Sequence[Running], events: int) -> list[float]:
    """Seconds of CPU that each one's Valkey spends on an event, when so many go through all of them together."""
    urls = [url for one in several for url in one.urls]
    before = [one.redis_cpu() for one in several]
    with ThreadPoolExecutor(len(urls)) as threads:
        list(threads.map(lambda url: load.exactly(url, events // len(urls)), urls))
    for one in several:
        one.until_idle()
    return [(one.redis_cpu() - cpu) * len(several) / events for one, cpu in zip(several, before, strict=True)]


def lasting(bench: Bench) -> None:
    """Memory of receiver and worker after many events, and of Redis for each key that it remembers."""
    events = 1_000_000 if bench.full else 60_000
    kit = replace(contenders.KIT, env={"KEEP_PAYLOADS": "0"})
    with bench.all_of(kit) as (one,), one.working() as (worker,):
        load.exactly(one.url, 1000)
        one.until_idle()
        empty, before = _remembering(one), one.count("accepted")
        halves = []
        for goal in (events // 2, events):
            while (accepted := one.count("accepted")) < goal:
                bench.tell(f"{accepted} of {events} events")
                load.exactly(one.url, min(10_000, goal - accepted))
                one.until_idle()
            halves.append((one.receiver.memory(), worker.memory()))
        time.sleep(1)
        used = _remembering(one) - empty
        bench.book.note("memory · remembered key", used / (one.count("accepted") - before))
        for name, of in (("half-way", halves[0]), ("", halves[1])):
            for who, size in zip(("receiver", "worker"), of, strict=True):
                bench.book.note(f"memory · {who}{', ' if name else ''}{name}", size / 1e6)


def _remembering(one: Running) -> int:
    """Bytes that its Valkey uses, without the list of the last 20 000 deliveries: that does not grow with the keys."""
    recent = cast(int | None, one.redis.memory_usage("glartek:recent", samples=0))
    return cast(int, one.info("memory")["used_memory"]) - (recent or 0)


def drain(bench: Bench, one: Running, count: int) -> None:
    """Fill the queue, start the workers, and time what happens between a tenth and nineteen twentieths of it."""
    load.exactly(one.url, count)
    total = one.waiting()
    if total != count * one.contender.jobs:
        raise BenchError(f"{one.contender.name}: {total} jobs were queued for {count} events")
    with one.working(one.contender.workers) as workers:
        begun, begun_cpu, left = one.until_left(total * 0.9, workers)
        redis = one.redis_cpu()
        ended, ended_cpu, rest = one.until_left(total * 0.05, workers)
        redis = one.redis_cpu() - redis
        one.until_idle()
        _check_outcomes(one, count)
    events = (left - rest) / one.contender.jobs
    bench.book.note(f"handled/s · {one.contender.name}", events / (ended - begun))
    bench.book.note(f"worker CPU · {one.contender.name}", (ended_cpu - begun_cpu) / events * 1e6)
    bench.book.note(f"Redis CPU, handling · {one.contender.name}", redis / events * 1e6)
    one.forget()


def _check_outcomes(one: Running, count: int) -> None:
    """Whoever counts outcomes must have one for each handler of each event: no figure for work that was not done."""
    if one.contender.waiting != contenders.KIT.waiting:
        return
    routed = ("first",) if one.contender.env.get("HANDLERS") else ("first", "second", "third")
    for handler in routed:
        done = one.count(f"handlers.{handler} done")
        if done != count:
            raise BenchError(f"handlers.{handler} has {done} outcomes for {count} events")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()
