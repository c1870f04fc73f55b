"""The measures of the receiver: how many events are accepted, how fast, and with how much in Redis already."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tests.bench import contenders, fill, load
from tests.bench.book import Book
from tests.bench.contenders import Contender, Python, Running, running


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where it may write, how long and how often it measures, and where the values go."""

    directory: Path
    book: Book
    seconds: float
    rounds: int
    full: bool
    with_bullmq: bool
    python: Python | None
    """Another interpreter to run the kit with, too."""
    tell: Callable[[str], None]

    def turns(self, running: Sequence[Running]) -> Iterator[Running]:
        """Each contender in turn, `rounds` times, with a different one first in every round."""
        for turn in range(self.rounds):
            for step in range(len(running)):
                one = running[(turn + step) % len(running)]
                self.tell(f"round {turn + 1}: {one.contender.name}")
                yield one

    @contextmanager
    def all_of(self, *some: Contender) -> Iterator[list[Running]]:
        """These contenders, each with a Valkey of its own; who is not being measured does nothing."""
        with ExitStack() as stack:
            yield [stack.enter_context(running(one, self.directory)) for one in some]


def accepting(bench: Bench) -> None:
    """Unique events per second through 64 connections, and duplicates; CPU of receiver and Redis for each event."""
    some = [contenders.BARE, contenders.TEXTBOOK, contenders.KIT, contenders.KIT_ALWAYS]
    some += [contenders.BULLMQ] if bench.with_bullmq else []
    some += [contenders.with_python(contenders.KIT, bench.python)] if bench.python else []
    with bench.all_of(*some) as all_running:
        for one in all_running:
            load.closed_loop(one.url, 1)  # imports, connections, scripts, a JIT: not what is measured
        for one in bench.turns(all_running):
            _sample(bench, one, "accepts/s", "unique")
            if one.contender in (contenders.KIT, contenders.KIT_ALWAYS):
                _sample(bench, one, "duplicates/s", "duplicates")


def answering(bench: Bench) -> None:
    """The answer's 99th percentile at 1 000 events a second, each on the disk, while a worker handles them."""
    some = [contenders.KIT_ALWAYS]
    some += [replace(contenders.BULLMQ, name="Fastify + BullMQ, always", fsync="always")] if bench.with_bullmq else []
    with bench.all_of(*some) as all_running:
        for one in bench.turns(all_running):
            with one.working():
                load.open_loop(one.url, 1000, 1)
                figures = load.open_loop(one.url, 1000, bench.seconds)
                one.until_idle()
            bench.book.note(f"answer p99 · {one.contender.name}", figures.percentile(0.99) * 1000)
            one.forget()


def crowded(bench: Bench) -> None:
    """Accepts per second with keys remembered, and with jobs queued, against an empty Redis."""
    keys, jobs = (2_000_000, 500_000) if bench.full else (200_000, 50_000)
    with bench.all_of(contenders.KIT, contenders.KIT, contenders.KIT) as all_running:
        names = dict(zip(map(id, all_running), ("empty", "many keys", "many jobs"), strict=True))
        for one in all_running:
            load.closed_loop(one.url, 1)
            one.forget()
        _, with_keys, with_jobs = all_running
        load.exactly(with_keys.url, 1)
        with with_keys.working(KEEP_PAYLOADS="0"):
            with_keys.until_idle()
        load.exactly(with_jobs.url, 1)
        fill.clone(with_keys.redis, keys)
        fill.clone(with_jobs.redis, jobs)
        for one in bench.turns(all_running):
            rate = load.closed_loop(one.url, bench.seconds).rate
            bench.book.note(f"accepts/s · {names[id(one)]}", rate)
            if one is all_running[0]:
                one.forget()


def large(bench: Bench) -> None:
    """Bodies of 1 MiB from 16 senders: bytes per second, and the receiver's memory at its highest."""
    size, count = 1024 * 1024, 128
    with bench.all_of(contenders.BARE, contenders.KIT) as all_running:
        for one in bench.turns(all_running):
            rate = load.exactly(one.url, count, size=size, clients=16).rate
            bench.book.note(f"1 MiB bodies · {one.contender.name}", rate * size / 1e6)
            one.forget()
            if one.contender is contenders.KIT:
                bench.book.note("memory · receiver, 1 MiB bodies", one.receiver.memory("VmHWM") / 1e6)


def _sample(bench: Bench, one: Running, what: str, kind: Literal["unique", "duplicates"]) -> None:
    receiver, redis = one.receiver.cpu(), one.redis_cpu()
    done = load.closed_loop(one.url, bench.seconds, kind)
    name = one.contender.name
    bench.book.note(f"{what} · {name}", done.rate)
    if kind == "unique":
        bench.book.note(f"receiver CPU · {name}", (one.receiver.cpu() - receiver) / done.requests * 1e6)
        bench.book.note(f"Redis CPU · {name}", (one.redis_cpu() - redis) / done.requests * 1e6)
    one.forget()
