"""What is done to many dead letters: a preview, then one after the other, paced, with progress."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from worker.dead_letters import Operator
from worker.elsewhere import PayloadElsewhere
from worker.letter import DeadLetter

AHEAD = 10
"""Payloads in files that a replay asks for in advance; until they are replayed they take memory in Redis."""
ACTS: dict[str, Callable[[Operator, DeadLetter], Coroutine[Any, Any, bool]]] = {
    "replay": Operator.replay_letter,
    "drop": Operator.drop,
}


@dataclass
class Progress:
    """How far it is: `done` of `tried` of `total`; `elsewhere` says which payloads could not be had."""

    total: int
    tried: int = 0
    done: int = 0
    elsewhere: list[str] = field(default_factory=list)


async def run(
    operator: Operator, verb: str, letters: Sequence[DeadLetter], per_minute: float = 0
) -> AsyncIterator[Progress]:
    """Do what `verb` names (of `ACTS`) to each, in the order in which their events were accepted.

    At most `per_minute` of them, evenly; 0 for as fast as it goes. Yields after each, and before the first.
    """
    ordered = sorted(letters, key=lambda letter: letter.accepted)
    progress, started = Progress(len(ordered)), time.monotonic()
    yield progress
    for number, letter in enumerate(ordered):
        if per_minute:
            await asyncio.sleep(max(0.0, started + number * 60 / per_minute - time.monotonic()))
        if verb == "replay" and number % AHEAD == 0:
            await operator.ask_for(ordered[number : number + AHEAD])
        try:
            await _act(ACTS[verb](operator, letter), progress)
        except PayloadElsewhere as error:
            progress.elsewhere.append(str(error))
        progress.tried += 1
        yield progress


async def _act(acting: Coroutine[Any, Any, bool], progress: Progress) -> None:
    """Wait for Redis and count the result also when this is cancelled, so that the reported number is right."""
    task = asyncio.create_task(acting)
    try:
        progress.done += await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(PayloadElsewhere):
            progress.done += await task
        raise


def preview(letters: Sequence[DeadLetter], running: Collection[str]) -> list[dict[str, Any]]:
    """What a replay of these would run: a row for each handler, those first that have most.

    `unreadable` counts bodies that are no event, so that nothing is known of their order. `out_of_order` counts the
    others that hold up nothing: later events of the same Work Order or Action may have been handled already.
    `elsewhere` counts payloads that come from a file of a receiver's host. `has_worker` is whether the handler is one
    of those that are `running`, None where no handler is named.
    """
    by_handler: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        by_handler.setdefault(letter.handler if letter.kind == "dead" else f"({letter.kind})", []).append(letter)
    rows = [
        {
            "handler": handler,
            "count": len(some),
            "types": dict(Counter(letter.type for letter in some).most_common(20)),
            "accepted_first": min(letter.accepted for letter in some).isoformat(timespec="milliseconds"),
            "accepted_last": max(letter.accepted for letter in some).isoformat(timespec="milliseconds"),
            "unreadable": sum(letter.unreadable for letter in some),
            "out_of_order": sum(not (letter.holds or letter.unreadable) for letter in some),
            "elsewhere": sum(letter.elsewhere for letter in some),
            "has_worker": handler in running if "." in handler else None,
        }
        for handler, some in by_handler.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["handler"]))


def surprises(row: Mapping[str, Any]) -> list[str]:
    """Warnings about a row of a preview: what an operator may not expect."""
    lines = []
    if row["unreadable"]:
        otherwise = "they would become dead letters again, unless the kit or its settings have changed"
        lines.append(f"{row['unreadable']} could not be read: {otherwise}")
    if row["out_of_order"]:
        after = "later events of the same Work Order or Action may have been handled already"
        lines.append(f"{row['out_of_order']} may run out of order: {after}")
    if row["elsewhere"]:
        lines.append(f"{row['elsewhere']} have their payload in a file of a receiver's host, which has to be up")
    if row["has_worker"] is False:
        lines.append("no worker that runs now has this handler: they would become dead letters again")
    return lines
