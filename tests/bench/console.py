"""What the console costs who accepts and handles, and how long its pages take with a past of 100 000 dead letters."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import httpx2
from redis import Redis

from receiver.queue.jobs import pack_job
from receiver.queue.keys import Keys
from tests.bench import contenders, load, worker
from tests.bench.contenders import Running
from tests.bench.processes import Process, free_port
from tests.bench.receiver import Bench

KEYS = Keys("glartek:")
PAGES = {
    "overview": "/",
    "deliveries": "/deliveries",
    "deliveries by id": "/deliveries?key=e7",
    "deliveries by text": "/deliveries?text=nowhere",
    "one delivery": f"/deliveries/{5:024x}",
    "groups": "/dead",
    "all groups": "/dead?look=far",
    "dead letters": "/dead/letters",
    "preview": "/dead/preview?verb=replay&handler=handlers.first",
}
PAST = 100_000


def fill(redis: Redis, count: int) -> None:
    """So many deliveries, each with a dead letter."""
    now = time.time_ns() // 1_000_000
    job = pack_job("deliver", [{"id": "x", "body": b"x" * 1024}], now)
    for start in range(0, count, 1000):
        with redis.pipeline(transaction=False) as pipe:
            for number in range(start, start + 1000):
                name, at = f"{number:024x}", now - (count - number)
                record = {"k": f"e{number}", "t": "action.created", "a": at * 1000, "handlers.first": "dead 1 5"}
                about = {"at": at, "reason": f"erp answered {500 + number % 40} for WO-{number}", "job": job}
                pipe.hset(KEYS.delivery(name), mapping=record)
                pipe.hset(
                    KEYS.dead_letter(f"{name}:handlers.first"),
                    mapping={**about, "handler": "handlers.first", "delivery": name, "kind": "dead", "tries": 1},
                )
                pipe.zadd(KEYS.dead, {f"{name}:handlers.first": at})
            pipe.rpush(KEYS.recent, *(KEYS.delivery(f"{number:024x}") for number in range(start, start + 1000)))
            pipe.execute()
    redis.ltrim(KEYS.recent, -20_000, -1)


def watched(bench: Bench) -> None:
    """Accepted and handled per second with three pages of a console open and live, against none; its pages' times."""
    seen = replace(contenders.KIT, name="kit, console open")
    with bench.all_of(contenders.KIT, seen) as all_running, ExitStack() as stack:
        for one in all_running:
            load.closed_loop(one.url, 1)
            one.forget()
        fill(all_running[1].redis, PAST)
        process, base = stack.enter_context(_console(all_running[1]))
        with httpx2.Client(base_url=base, timeout=60) as client:
            for name, path in PAGES.items():
                bench.book.note(f"page · {name}", _milliseconds(client, path))
        all_running[1].forget()
        for one in bench.turns(all_running):
            with _open(base) if one.contender is seen else ExitStack():
                fill(one.redis, PAST // 10)
                used, redis, began = process.cpu(), one.redis_cpu(), time.monotonic()
                done = load.closed_loop(one.url, bench.seconds)
                bench.book.note(f"accepts/s · {one.contender.name}", done.rate)
                bench.book.note(f"Redis CPU · {one.contender.name}", (one.redis_cpu() - redis) / done.requests * 1e6)
                if one.contender is seen:
                    share = (process.cpu() - used) / (time.monotonic() - began)
                    bench.book.note("console CPU · three pages open", share * 100)
                time.sleep(0.5)  # what was under way when the load ended is no part of what is drained
                one.forget()
                worker.drain(bench, one, 8000)


@contextmanager
def _console(one: Running) -> Iterator[tuple[Process, str]]:
    port = free_port()
    command = (*contenders.KIT.worker, "console")
    process = Process(command, {**one.env, "CONSOLE_PORT": str(port)}, one.home / "console.log")
    try:
        process.until_listening(port)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.stop()


def _milliseconds(client: httpx2.Client, path: str) -> float:
    began = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - began) * 1000


@contextmanager
def _open(base: str) -> Iterator[None]:
    """Three pages that do what console.js does: a stream each, and the page anew when it says so."""
    closing = threading.Event()
    pages = [threading.Thread(target=_live, args=(base, path, closing)) for path in ("/", "/deliveries", "/dead")]
    for page in pages:
        page.start()
    try:
        yield
    finally:
        closing.set()
        for page in pages:
            page.join()


def _live(base: str, path: str, closing: threading.Event) -> None:
    due = 0.0
    with httpx2.Client(base_url=base, timeout=60) as client, client.stream("GET", "/live") as stream:
        for line in stream.iter_lines():
            if closing.is_set():
                return
            if line == "event: changed" and time.monotonic() >= due:
                took = _milliseconds(client, path) / 1000
                due = time.monotonic() + 29 * took
