"""Which troubles the figures show: with the names, thresholds and reasons of `deploy/prometheus/rules.yml`."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from receiver.alerts.settings import AlertSettings
from receiver.alerts.silence import is_strange
from receiver.figures import Figures, Process

HALF = 0.5
FEWEST_RUNS = 6
"""Runs of a handler within ten minutes that say something about it."""


class Kind(NamedTuple):
    """What somebody does about an alert: look there, type this. docs/operations.md says more under its name."""

    look: str
    command: str
    over: str = "It is over."


_SPOOL = "python -m receiver spool list"
_DEAD = "python -m worker dead list"
KINDS: Mapping[str, Kind] = {
    "GlartekRedisAway": Kind("Redis's own log, its disk, the network", "docker compose up --detach valkey"),
    "GlartekNoReceiver": Kind("the receiver's log", "docker compose up --detach receiver"),
    "GlartekNoWorker": Kind("the worker's log: a wrong setting is one line", "docker compose up --detach worker"),
    "GlartekEventsNotStored": Kind(
        "'delivery not stored' in the receiver's log; the disk of the spool",
        "python -m receiver doctor",
        "No more were refused; whether Glartek sends those again is not documented.",
    ),
    "GlartekBacklogOld": Kind(
        "whether more events come, or handlers are slower; 'the event loop is blocked' in the worker's log",
        "docker compose up --detach --scale worker=4 worker",
    ),
    "GlartekSpoolNotDraining": Kind("whether Redis is away or nearly full; that receiver's log", _SPOOL),
    "GlartekSpoolNeedsHand": Kind("the section on the spool in docs/operations.md; the disk", _SPOOL),
    "GlartekDiskShort": Kind("what fills that disk", "df -h"),
    "GlartekRedisMemory": Kind("whether there is a backlog, or many dead letters; maxmemory", _DEAD),
    "GlartekDeadLetters": Kind(
        "the reason in the list", _DEAD, "No more came; those that did wait for replay or drop."
    ),
    "GlartekConflicts": Kind(
        "two of them: which field tells events apart", f"{_DEAD} --kind conflict", "No more came."
    ),
    "GlartekHandlerFailing": Kind("'handler will be run again' in the worker's log; the target", _DEAD),
    "GlartekUnsafe": Kind("what it says", "python -m receiver doctor"),
    "GlartekSilence": Kind(
        "Settings > Webhooks in Glartek; whether the public address answers from outside",
        "python -m receiver url --base https://hooks.example.com",
        "Events arrive again.",
    ),
}


class Trouble(NamedTuple):
    """One trouble now. `about` is whose (a handler, a host); it is told when it has lasted for `after` seconds."""

    name: str
    text: str
    about: str = ""
    after: float = 0.0


def of_figures(
    figures: Figures, ended: Mapping[str, Mapping[str, int]], hours: Mapping[int, int], limits: AlertSettings
) -> Iterator[Trouble]:
    """All but the counts that rise. `ended`: each handler's runs of the last minutes by how they ended."""
    later = limits.alerts_after
    if not figures.alive("receiver"):
        text = "No receiver is alive. Events are being lost at this moment."
        yield Trouble("GlartekNoReceiver", text, after=later)
    if not figures.alive("worker"):
        text = f"No worker is alive. {figures.ready} events wait; nothing is handled."
        yield Trouble("GlartekNoWorker", text, after=later)
    if figures.oldest_ready > limits.alerts_oldest_ready:
        text = f"{figures.ready} events wait, the oldest for {_span(figures.oldest_ready)}: workers do not keep up."
        yield Trouble("GlartekBacklogOld", text, after=later)
    memory = figures.memory
    if memory and memory.most and memory.used > limits.alerts_redis_memory * memory.most:
        text = f"Redis uses {memory.used / memory.most:.0%} of its memory; above 75 % events wait in the spools."
        yield Trouble("GlartekRedisMemory", text, after=later)
    for receiver in figures.alive("receiver"):
        yield from _of_spool(receiver, figures.now, limits)
        for found in receiver.told.get("unsafe", ()):
            yield Trouble("GlartekUnsafe", f"{found['seen']}. {found['mend']}", f"{_host(receiver)} {found['check']}")
    yield from _of_handlers(ended, later)
    yield from _of_silence(figures, hours, limits.alerts_silence)


def _of_spool(receiver: Process, now: float, limits: AlertSettings) -> Iterator[Trouble]:
    """Of one receiver; those that share a spool say the same, which the book takes once."""
    spool, host = receiver.told.get("spool", {}), _host(receiver)
    waited = now - (spool.get("oldest") or now)
    if spool.get("events") and waited > limits.alerts_spooled:
        text = f"{spool['events']} events wait on the disk of {host}, the oldest for {_span(waited)}."
        yield Trouble("GlartekSpoolNotDraining", text, host, limits.alerts_after)
    wrong = [f"{spool[word]} {said}" for word, said in _NEEDS_HAND.items() if spool.get(word)]
    if spool.get("unusable"):
        wrong.append("the spool cannot be used")
    if wrong:
        yield Trouble("GlartekSpoolNeedsHand", f"On {host}: {', '.join(wrong)}.", host, limits.alerts_after)
    if (free := spool.get("free")) is not None and free < limits.alerts_disk_free:
        text = f"{free >> 20} MiB are free on the disk of {host}'s spool, which is what outlasts an outage."
        yield Trouble("GlartekDiskShort", text, host, limits.alerts_after)


_NEEDS_HAND = {"set_aside": "events that Redis cannot store", "damaged": "damaged files, whose events are not handled"}


def _of_handlers(ended: Mapping[str, Mapping[str, int]], later: float) -> Iterator[Trouble]:
    for handler, counts in ended.items():
        runs, failed = sum(counts.values()), counts.get("failed", 0)
        if runs >= FEWEST_RUNS and failed > HALF * runs:
            text = f"{handler} failed in {failed} of {runs} runs; they are tried again."
            yield Trouble("GlartekHandlerFailing", text, handler, later)


def _of_silence(figures: Figures, hours: Mapping[int, int], plain: float) -> Iterator[Trouble]:
    last = max((at for field, at in figures.metrics.items() if field.startswith("seen ")), default=None)
    if last is not None and is_strange(hours, last, figures.now, plain):
        at = datetime.fromtimestamp(last, tz=UTC).isoformat(sep=" ", timespec="minutes")
        text = f"Nothing has arrived for {_span(figures.now - last)}, since {at}. Is the webhook still in Glartek?"
        yield Trouble("GlartekSilence", text)


class Rising(NamedTuple):
    """A count that is trouble when it has risen by `least` since its last `window` (s) without one began."""

    name: str
    about: str
    value: int
    text: str
    least: int = 1
    window: float = 600.0


def counts(metrics: Mapping[str, int]) -> list[Rising]:
    """The counts of which each step, or a few, are trouble; grouped, so that a thousand dead letters are one alert."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for field, value in metrics.items():
        match field.split(" "):
            case ["dead", handler, reason]:
                sums["GlartekDeadLetters", f"{handler} {reason}"] += value
            case ["refused", "503"]:
                sums["GlartekEventsNotStored", ""] += value
            case ["conflicts", _, source]:
                sums["GlartekConflicts", source] += value
    texts = {
        "GlartekDeadLetters": "{about}: {by} dead letters. They wait for you.",
        "GlartekEventsNotStored": "{by} events were answered 503: nothing could store them.",
        "GlartekConflicts": "{by} deliveries had a key ({about}) that was taken by other bytes; ten of a key are kept.",
    }
    few = {"GlartekConflicts": (4, 3600.0)}  # one is a sender's slip
    return [Rising(name, about, by, texts[name], *few.get(name, ())) for (name, about), by in sums.items()]


def runs(recent: Sequence[Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Each handler's ends by state, from the fields of `<p>metrics:<n>`, the newest ten minutes first.

    The newest alone where they say enough, so that a handler that recovered is well at once.
    """
    found: dict[str, dict[str, int]] = {}
    for fields in recent:
        for handler, states in _ends(fields).items():
            so_far = found.setdefault(handler, {})
            if sum(so_far.values()) < FEWEST_RUNS:
                found[handler] = {state: so_far.get(state, 0) + states.get(state, 0) for state in {*so_far, *states}}
    return found


def _ends(fields: Mapping[str, int]) -> dict[str, dict[str, int]]:
    ends: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for field, value in fields.items():
        match field.split(" "):
            case ["ended", handler, state, _]:
                ends[handler][state] += value
    return ends


def _host(process: Process) -> str:
    return str(process.told["host"])


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
