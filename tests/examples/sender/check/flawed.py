"""Receivers that are each wrong in one way: the smallest ones that a single check should find out."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from examples.sender.check.context import Limits
from examples.sender.http.recording import Answer, Arrival
from receiver import events
from tests.examples.sender.check.serving import (
    PATH,
    Answering,
    answering_from_memory,
    eight_connections_at_a_time,
    serving,
)

# Short waits, and patience with a machine that is busy: only flaws that are a matter of time have less of it.
QUICK = Limits(
    timeout=8, prompt=5.0, burst=15, rate=30, rate_seconds=0.3, max_rate=60, huge=1_100_000, slow_body=0.1,
    idle=(0.3,), restart_wait=5,
    effects_wait=0.5, effects_settle=0.2,
)  # fmt: skip

LONG_PAUSE = replace(QUICK, idle=(1.3,))  # between two requests of a busy machine a second passes seldom


def good(arrival: Arrival) -> Answer:
    """What a receiver should do: 200 for everything, 404 without the secret."""
    return Answer(200 if arrival.target == PATH else 404)


def always(**answer: Any) -> Answering:
    """Good, but for one thing about every answer."""
    return lambda arrival: replace(good(arrival), **answer) if arrival.target == PATH else good(arrival)


def says(status: int, when: Callable[[Arrival], bool]) -> Answering:
    """Good, but it answers `status` when something is so."""
    return lambda arrival: Answer(status) if arrival.target == PATH and when(arrival) else good(arrival)


def payload(arrival: Arrival) -> Any:
    try:
        return json.loads(arrival.content)
    except (ValueError, RecursionError):
        return ...


def is_an_odd_shape(arrival: Arrival) -> bool:
    return payload(arrival) is not ... and not isinstance(payload(arrival), dict)


def is_no_json(arrival: Arrival) -> bool:
    return bool(arrival.body) and payload(arrival) is ... and not arrival.content.startswith(b"[[")


def is_labelled_otherwise(arrival: Arrival) -> bool:
    return not (arrival.header("content-type") or "").startswith("application/json")


def is_unknown(arrival: Arrival) -> bool:
    return arrival.type not in events.BY_NAME


def is_chunked(arrival: Arrival) -> bool:
    return arrival.header("transfer-encoding") is not None


def is_compressed(arrival: Arrival) -> bool:
    return arrival.header("content-encoding") is not None


def offers_http2(arrival: Arrival) -> bool:
    return arrival.header("upgrade") == "h2c"


def took_long(arrival: Arrival) -> bool:
    return time.monotonic() - arrival.began > 0.8


def one_at_a_time() -> Answering:
    """Handles in the request, one request after another, 25 ms each."""
    free_at = 0.0

    def answer(arrival: Arrival) -> Answer:
        nonlocal free_at
        free_at = max(free_at, time.monotonic()) + 0.025
        return replace(good(arrival), delay=free_at - time.monotonic())

    return answer


def as_slow_as_its_consumer(folder: Path) -> Answering:
    """Handles in the request; the consumer is slow while a file exists."""
    return lambda arrival: replace(good(arrival), delay=1.3 if (folder / "slow").exists() else 0.0)


def refuses_duplicates() -> Answering:
    seen: set[bytes] = set()

    def answer(arrival: Arrival) -> Answer:
        duplicate = arrival.body in seen
        seen.add(arrival.body)
        return Answer(409) if duplicate and arrival.body else good(arrival)

    return answer


def looks_first_and_inserts_later() -> Answering:
    """The same event twice at once breaks on the unique index."""
    until: dict[str | None, float] = {}

    def answer(arrival: Arrival) -> Answer:
        now = time.monotonic()
        racing = arrival.id is not None and until.get(arrival.id, 0) > now
        until[arrival.id] = now + 0.02
        return Answer(500) if racing else replace(good(arrival), delay=0.02)

    return answer


def insists_on_the_same_bytes() -> Answering:
    bodies: dict[str, bytes] = {}

    def answer(arrival: Arrival) -> Answer:
        changed = arrival.id is not None and bodies.setdefault(arrival.id, arrival.body) != arrival.body
        return Answer(422) if changed else good(arrival)

    return answer


def counts_reuse(limit: int, answer_beyond: Callable[[bool], int]) -> Answering:
    """Counts the requests that reuse a connection, as only a stream of events does; beyond `limit` it changes."""
    seen: set[int] = set()
    reused = 0

    def answer(arrival: Arrival) -> Answer:
        nonlocal reused
        again = arrival.connection in seen
        seen.add(arrival.connection)
        reused += again
        return Answer(answer_beyond(again)) if reused > limit and arrival.target == PATH else good(arrival)

    return answer


def limits_each_client() -> Answering:
    """What other checks send on kept connections is taken, and a little of a stream; then it gets 429."""
    return counts_reuse(7, lambda again: 429 if again else 200)


def breaks_for_good() -> Answering:
    """More events than one steady stream has break it, for everyone."""
    return counts_reuse(26, lambda _: 503)


def forgets_idle_connections() -> Answering:
    """A balancer that drops what was idle for a second without telling the client."""
    last: dict[int, float] = {}

    def answer(arrival: Arrival) -> Answer:
        idle = arrival.began - last.get(arrival.connection, arrival.began)
        last[arrival.connection] = arrival.began
        return Answer(ending="reset") if idle > 1.0 else good(arrival)

    return answer


def falls_asleep() -> Answering:
    """After a second without a request it has to start, and takes one connection until then."""
    last = woke = 0.0
    seen: set[int] = set()

    def answer(arrival: Arrival) -> Answer:
        nonlocal last, woke
        woke, last = (arrival.began if arrival.began - last > 1.0 else woke), arrival.began
        new = arrival.connection not in seen
        seen.add(arrival.connection)
        return Answer(503) if new and arrival.together > 1 and arrival.began - woke < 0.05 else good(arrival)

    return answer


@dataclass
class Effects:
    """Writes a line into a file named for the event each time it takes effect.

    `again` says which duplicates do, `lost` what does not; what is `refused` takes effect all the same.
    """

    folder: Path
    again: Callable[[Arrival], bool] = lambda _: False
    lost: Callable[[Arrival], bool] = lambda _: False
    refused: Callable[[Arrival], bool] = lambda _: False
    seen: set[str | None] = field(default_factory=set)

    def __call__(self, arrival: Arrival) -> Answer:
        first = arrival.id not in self.seen
        self.seen.add(arrival.id)
        if arrival.id and (self.again(arrival) if not first else not self.lost(arrival)):
            with (self.folder / arrival.id).open("a") as file:
                file.write("effect\n")
        patience = 0.02 if arrival.together == 1 else 0.15  # what comes together stays together, on a busy machine too
        return Answer(413) if self.refused(arrival) else replace(good(arrival), delay=patience)


@dataclass(frozen=True)
class Flaw:
    """A flawed receiver, the check made for it, and how far to go."""

    check: str
    answers: Callable[[Path], Answering]
    limits: Limits = QUICK
    serve: Callable[[Answering, Path], AbstractAsyncContextManager[str]] = serving
    counted: bool = False
    """Whether its effects are lines in files named for the events."""


FLAWS = {  # the slowest first: they are checked side by side
    "answers from memory": Flaw(
        "keeps-what-it-accepted",
        lambda _: good,
        replace(QUICK, effects_wait=3),
        answering_from_memory,
        counted=True,
    ),
    "is slow": Flaw("prompt-alone", lambda _: always(delay=0.12), replace(QUICK, prompt=0.1, burst=5)),
    "handles one at a time": Flaw("prompt-under-load", lambda _: one_at_a_time(), replace(QUICK, prompt=1.0, burst=50)),
    "waits for its consumer": Flaw(
        "prompt-while-consumer-is-slow", as_slow_as_its_consumer, replace(QUICK, prompt=1.0)
    ),
    "has eight threads": Flaw("stalled-bodies", lambda _: good, replace(QUICK, timeout=2), eight_connections_at_a_time),
    "answers 204": Flaw("only-200-or-201", lambda _: always(status=204)),
    "redirects": Flaw("only-200-or-201", lambda _: always(status=302)),
    "says thank you at length": Flaw("lean-answer", lambda _: always(body=b"<p>Thank you!</p>" * 200)),
    "sends many headers": Flaw("lean-answer", lambda _: always(headers={"set-cookie": "x" * 1200})),
    "refuses duplicates": Flaw("duplicates-one-after-another", lambda _: refuses_duplicates()),
    "races with itself": Flaw("duplicates-at-once", lambda _: looks_first_and_inserts_later()),
    "insists on the same bytes": Flaw("duplicates-with-other-bytes", lambda _: insists_on_the_same_bytes()),
    "crashes without JSON": Flaw("not-json", lambda _: says(500, is_no_json)),
    "crashes when empty": Flaw("empty-body", lambda _: says(500, lambda arrival: not arrival.body)),
    "expects an object": Flaw("unexpected-shapes", lambda _: says(500, is_an_odd_shape)),
    "knows eleven types": Flaw("unknown-event-type", lambda _: says(400, is_unknown)),
    "stores three bytes of UTF-8": Flaw(
        "text-in-any-language", lambda _: says(500, lambda arrival: "\U0001f525".encode() in arrival.content)
    ),
    "wants application/json": Flaw("any-content-type", lambda _: says(415, is_labelled_otherwise)),
    "chokes on size": Flaw("huge-body", lambda _: says(500, lambda arrival: len(arrival.body) > 1_050_000)),
    "stops at 100 kB": Flaw("large-body", lambda _: says(413, lambda arrival: len(arrival.body) > 100_000)),
    "cannot unpack": Flaw("compressed-body", lambda _: says(500, is_compressed)),
    "loses what is compressed": Flaw(
        "compressed-body", lambda folder: Effects(folder, lost=is_compressed), counted=True
    ),
    "refuses to be asked": Flaw("expect-continue", lambda _: says(417, lambda arrival: bool(arrival.header("expect")))),
    "loses what offers HTTP/2": Flaw(
        "upgrade-offered", lambda folder: Effects(folder, lost=offers_http2), counted=True
    ),
    "does not read what offers HTTP/2": Flaw(
        "upgrade-offered", lambda _: says(400, lambda arrival: is_no_json(arrival) and not offers_http2(arrival))
    ),
    "forgets idle connections": Flaw("idle-connections", lambda _: forgets_idle_connections(), LONG_PAUSE),
    "falls asleep": Flaw("burst-after-a-pause", lambda _: falls_asleep(), LONG_PAUSE),
    "wants a length": Flaw("chunked-body", lambda _: says(411, is_chunked)),
    "has no patience": Flaw("slow-body", lambda _: says(408, took_long), replace(QUICK, slow_body=1.2)),
    "closes unannounced": Flaw("keep-alive", lambda _: always(ending="close")),
    "lets anybody in": Flaw("secret-in-url", lambda _: lambda _arrival: Answer(200)),
    "limits each client": Flaw("steady-stream", lambda _: limits_each_client(), replace(QUICK, rate_seconds=0.6)),
    "breaks for good": Flaw(
        "recovers-from-its-limit", lambda _: breaks_for_good(), replace(QUICK, prompt=2.0, rate_seconds=0.6)
    ),
    "handles duplicates that come later": Flaw(
        "effect-once", lambda folder: Effects(folder, again=lambda arrival: arrival.together == 1), counted=True
    ),
    "handles duplicates that come at once": Flaw(
        "effect-once-at-once", lambda folder: Effects(folder, again=lambda arrival: arrival.together > 1), counted=True
    ),
    "loses what comes at once": Flaw(
        "effect-of-every-event", lambda folder: Effects(folder, lost=lambda arrival: arrival.together > 5), counted=True
    ),
    "handles first and looks later": Flaw(
        "no-effect-of-what-it-refused",
        lambda folder: Effects(folder, refused=lambda arrival: len(arrival.body) > 1_050_000),
        counted=True,
    ),
}
