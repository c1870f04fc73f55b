"""A replay or drop of many in the background ends in a state that a page shows, whatever happens to it."""

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from receiver.queue.keys import Keys
from tests.conftest import until
from worker.console.runs import Run, Runs
from worker.dead_letters import Operator
from worker.letter import DeadLetter


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("secret text"), "ValueError"),
        (RedisConnectionError(), "Redis does not answer (ConnectionError)"),
        (OutOfMemoryError(), "Redis refuses that (OutOfMemoryError): python -m receiver doctor says why"),
    ],
)
async def test_one_that_fails_says_so(redis: ArqRedis, error: Exception, said: str) -> None:
    """It is not shown as running for ever; the text of an unexpected error, which may hold a payload, is not shown."""

    async def select(_: Operator) -> list[DeadLetter]:
        raise error

    runs = Runs()
    run = runs.start(redis, Keys("glartek:"), Run("", "replay", "ann", "the target is back", "all", 0), select)
    await until(lambda: run.state != "running")
    assert run.state == "failed"
    assert said in run.trouble
    assert "secret text" not in run.trouble
    await runs.stop()
