"""python -m examples.ledger ID…: how often the worker handled each event, according to its records in Redis.

Prints one number a line, in the order of the event ids: 0 while work is open, else the most often that one of its
handlers was done; tries that failed or were postponed do not count. `python -m examples.sender check --ledger` counts
effects with it.
"""

import asyncio
import sys
from typing import Annotated, Any

import typer

from receiver.environment import SettingsError, load
from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from receiver.settings import Settings
from worker.dead_letters import Operator
from worker.story import find


async def handled(event_ids: list[str]) -> list[int]:
    """The number for each event. Raises `SettingsError`, or one of `REDIS_ERRORS`."""
    config = load(Settings)
    rule = config.idempotency_rule()
    redis = connect(config.redis_url.get_secret_value())
    try:
        operator = Operator(redis, Keys(config.key_prefix))
        return [times(await find(operator, rule, event_id)) for event_id in event_ids]
    finally:
        await redis.aclose()


def times(story: dict[str, Any] | None) -> int:
    """How often the event with this story was handled."""
    handlers = story["handlers"].values() if story and not story["open"] else ()
    ended = (told["attempts"] - len(told["failures"]) for told in handlers if told["state"] == "done")
    return max(ended, default=0)


def main(event_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Event ids.")]) -> None:
    """Print how often the worker handled each event, one number a line."""
    try:
        counts = asyncio.run(handled(event_ids))
    except SettingsError as error:
        sys.exit(f"{error.lines[0]}")
    except REDIS_ERRORS as error:
        sys.exit(f"Redis does not answer: {error}")
    for count in counts:
        typer.echo(count)


if __name__ == "__main__":
    typer.run(main)
