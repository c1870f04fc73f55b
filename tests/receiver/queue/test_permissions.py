"""What the kit asks of Redis is known, tried, and named when it is refused; the list is the code's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ReadOnlyError

from receiver.queue.connection import REDIS_ERRORS, connect
from receiver.queue.keys import Keys
from receiver.queue.permissions import NEEDED, NICE_TO_KNOW, WITH_REPLICAS, patterns, refusal, refusals, rules
from receiver.queue.valkey import embedded
from tests.commands import OF_ARQ, called

KEYS = Keys("kit:")


def user(url: str, name: str = "kit") -> ArqRedis:
    return connect(url.replace("unix://", f"unix://{name}:x@"))


@asynccontextmanager
async def allowed(redis: ArqRedis, url: str, *acl: str) -> AsyncIterator[ArqRedis]:
    """A client of a user with these rules."""
    await redis.execute_command("ACL SETUSER", "kit", "reset", "on", "nopass", *acl)
    client = user(url)
    yield client
    await client.aclose()
    await redis.execute_command("ACL DELUSER", "kit")


def test_the_list_of_commands_is_what_the_code_calls() -> None:
    """Nothing is called that is not in the list, and nothing is asked for that is not called."""
    assert called("receiver", "worker") | OF_ARQ == {*NEEDED, *WITH_REPLICAS, *NICE_TO_KNOW}


async def test_the_minimal_rules_are_enough_and_the_tries_leave_nothing(redis: ArqRedis, valkey_url: str) -> None:
    """With exactly these rules nothing is refused, and asking changes nothing."""
    async with allowed(redis, valkey_url, *rules("kit:", replicas=True)) as client:
        assert await refusals(client, KEYS, replicas=True) == []
        assert await redis.dbsize() == 0


@pytest.mark.parametrize("command", [*NEEDED, *WITH_REPLICAS])
async def test_a_command_that_is_refused_is_named_with_its_rule(redis: ArqRedis, valkey_url: str, command: str) -> None:
    """That one, and no other."""
    rule = f"-{command.lower()}"
    async with allowed(redis, valkey_url, *rules("kit:", replicas=True), rule) as client:
        lines = await refusals(client, KEYS, replicas=True)
        assert lines == [f"the Redis user may not run {command}: add +{command.lower()}"]
        assert await redis.dbsize() == 0


@pytest.mark.parametrize("pattern", patterns("kit:"))
async def test_keys_that_are_refused_are_named_with_their_rule(redis: ArqRedis, valkey_url: str, pattern: str) -> None:
    """That pattern, and no command."""
    acl = [rule for rule in rules("kit:") if rule != f"~{pattern}"]
    async with allowed(redis, valkey_url, *acl) as client:
        assert await refusals(client, KEYS) == [f"the Redis user may not use the keys {pattern}: add ~{pattern}"]


async def test_keys_that_may_only_be_read_are_refused(redis: ArqRedis, valkey_url: str) -> None:
    """A pattern for reading is not enough."""
    acl = [rule.replace("~arq:job", "%R~arq:job") for rule in rules("kit:")]
    async with allowed(redis, valkey_url, *acl) as client:
        assert await refusals(client, KEYS) == ["the Redis user may not use the keys arq:job:*: add ~arq:job:*"]


async def test_a_database_that_may_not_be_selected_is_named(redis: ArqRedis, valkey_url: str) -> None:
    """It is refused while connecting, before any command of ours."""
    async with allowed(redis, f"{valkey_url}?db=1", *rules("kit:")) as client:
        assert await refusals(client, KEYS) == ["the Redis user may not run SELECT: add +select"]


async def test_a_renamed_command_is_told_apart(tmp_path: Path) -> None:
    """Nobody can allow what the server does not know."""
    with embedded(tmp_path, "--rename-command", "COPY", "hidden") as url:
        client = connect(url)
        [line] = await refusals(client, KEYS)
        assert line.startswith("Redis does not know COPY")
        await client.aclose()


async def test_a_read_only_server_is_told_apart(redis: ArqRedis) -> None:
    """It is trouble, as a server that is away, and says nothing of permissions."""
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(ReadOnlyError):
            await refusals(redis, KEYS)
    finally:
        await redis.execute_command("REPLICAOF", "NO", "ONE")


async def test_a_server_that_is_loading_is_away() -> None:
    """LOADING, for however long, is waited for like any other outage."""
    async with loading() as url:
        client = connect(url, retries=0)
        with pytest.raises(REDIS_ERRORS) as raised:
            await refusals(client, KEYS)
        assert refusal(raised.value) is None
        await client.aclose()


async def test_a_full_server_refuses_nothing(redis: ArqRedis) -> None:
    """Want of memory is no want of a permission."""
    await redis.config_set("maxmemory", 1)
    try:
        assert await refusals(redis, KEYS) == []
    finally:
        await redis.config_set("maxmemory", 0)


@asynccontextmanager
async def loading() -> AsyncIterator[str]:
    """The address of a server that is still loading its data: it takes connections and answers LOADING to commands."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(b"-LOADING Redis is loading the dataset in memory\r\n" * data.count(b"*"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    server.close()
