"""storm: sends many events at a rate or from many clients, with live figures and a histogram."""

import asyncio
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import STOPPED, Folder, Headers, Json, Map, Remove, Secret, Seed, Set, TimeOut, To
from examples.sender.http import delivery
from examples.sender.http.message import Message
from examples.sender.play import payloads
from examples.sender.play.edits import Edits
from examples.sender.play.payloads import Samples, Story
from examples.sender.play.storm import SHARES, Figures, Storm
from examples.sender.terminal import Refusal

_MOST = 1_000_000
_PREPARED = 50_000
_LATE = 0.1  # seconds behind schedule from which it is reported
_BAR = 40  # characters of the longest bar in the histogram


def storm(
    *,
    types: Annotated[
        list[str] | None, typer.Argument(metavar="TYPE…", help="Sent in rotation; default: all eleven.")
    ] = None,
    to: To = None,
    rate: Annotated[float | None, typer.Option(min=0.1, max=20000, help="Events/s, open loop.")] = None,
    clients: Annotated[int | None, typer.Option(min=1, max=1000, help="Or: clients that wait for answers.")] = None,
    count: Annotated[int, typer.Option(min=1, max=_MOST, help="How many events in all.")] = 1000,
    duplicates_every: Annotated[int, typer.Option(min=0, help="Every Nth repeats the one before it.")] = 0,
    changes: Set = None,
    remove: Remove = None,
    samples: Folder = None,
    payload_map: Map = None,
    header: Headers = None,
    secret: Secret = None,
    seed: Seed = None,
    timeout: TimeOut = delivery.TIMEOUT,
    json: Json = False,
) -> int:
    """Send many events, and report rate, percentiles, failures and duplicates."""
    if (rate is None) == (clients is None):
        raise Refusal("expected either --rate (events per second, whatever the answers) or --clients (each waits)")
    chosen, extra = options.samples(samples, payload_map), options.headers(header)
    make = _maker(types, chosen, Edits(changes, remove, chosen.payloads), seed, extra)
    if count <= _PREPARED:  # made before sending, which would be slower otherwise
        make = iter([make() for _ in range(count)]).__next__
    sending = Storm(
        options.endpoint(to), make, count, timeout=timeout, duplicates_every=duplicates_every,
        signer=options.signer(secret),
    )  # fmt: skip
    stopped = options.until_stopped(_watched(sending, rate, clients or 1))
    figures = sending.figures
    used = {"rate": rate, "clients": clients, "timeout": timeout, "duplicates_every": duplicates_every, "seed": seed}
    if json:
        shown = terminal.without_secrets(to or "")
        terminal.as_json({"to": shown, "note": chosen.note, "settings": used, **figures.as_dict()})
    else:
        _print(figures)
        terminal.settings({name: value for name, value in used.items() if value is not None})
    return STOPPED if stopped else int(figures.failed > 0)


def _maker(
    types: Sequence[str] | None, samples: Samples, edits: Edits, seed: int | None, extra: Mapping[str, str]
) -> Callable[[], Message]:
    """Fresh events, rotating through these types and their samples; each is about its own Work Order."""
    rng, _ = payloads.randomness(seed)
    named = [samples.named(words) for words in types] if types else list(samples.by_type)
    order = ((name, round_) for round_ in itertools.count() for name in named)

    def make() -> Message:
        name, round_ = next(order)
        payload = Story(rng, samples).event(name, None if seed is not None else datetime.now(UTC), round_)
        edits.apply(payload)
        return Message.of(payload, samples.where).having(extra)

    return make


async def _watched(sending: Storm, rate: float | None, clients: int) -> None:
    running = asyncio.create_task(sending.at_rate(rate) if rate else sending.by_clients(clients))
    with terminal.progress("figures") as bar:
        task = bar.add_task("storm", total=sending.count, figures="")
        while not (await asyncio.wait([running], timeout=0.2))[0]:
            bar.update(task, completed=sum(sending.figures.answers.values()), figures=_live(sending.figures))
    await running


def _live(figures: Figures) -> str:
    recent = sorted(figures.latencies[-1000:]) or [0.0]
    median, high = recent[len(recent) // 2], recent[int(len(recent) * 0.99)]
    return f"{figures.ok / figures.seconds:.0f}/s  p50 {_ms(median)}  p99 {_ms(high)}  {figures.failed} failed"


def _print(figures: Figures) -> None:
    terminal.say(
        f"{figures.ok} delivered, {figures.failed} failed, {figures.duplicates} duplicates among them, "
        f"in {figures.seconds:.2f} s: {figures.ok / figures.seconds:.0f}/s; at most {figures.most_open} open at once"
    )
    if figures.most_late > _LATE:
        terminal.say(f"this sender fell behind by up to {figures.most_late:.2f} s: the rate is too high for it")
    shares = "  ".join(f"{name} {_ms(figures.percentile(share))}" for name, share in SHARES.items())
    terminal.say(f"time to answer  {shares}" if figures.latencies else "no event was answered")
    largest = max((events for _, events in figures.histogram()), default=1)
    for edge, events in figures.histogram():
        terminal.say(f"  up to {edge:>7}  {events:>8}  {'█' * math.ceil(events * _BAR / largest)}")
    terminal.table(("ANSWER", "EVENTS"), [(answer, str(count)) for answer, count in figures.answers.most_common()])


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
