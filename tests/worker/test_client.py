"""The client that handlers share gives no URL away and keeps nothing of one handler for another."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import httpx2
import pytest

from receiver.client import Client
from tests.worker.conftest import Rig
from worker import Context, Event

SECRET = "s3cret"
PATH = f"/hooks/{SECRET}?sig={SECRET}#{SECRET}"


class Pager:
    """An HTTP server that gives each request the same answer, and remembers the requests' heads."""

    def __init__(self) -> None:
        self.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        self.heads: list[bytes] = []
        self.host = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the client connected and could not say what it had to
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        await writer.drain()
        writer.close()


@pytest.fixture
async def pager() -> AsyncIterator[Pager]:
    served = Pager()
    listener = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield served


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client(trust_env=False)
    yield client
    await client.end()


@pytest.mark.parametrize("status", ["302 Found\r\nLocation: https://x/" + SECRET, "404 " + SECRET, "503 Away"])
async def test_a_status_error_names_host_and_status(client: Client, pager: Pager, status: str) -> None:
    """`raise_for_status()` raises httpx2's error without the URL, the reason phrase and the place of a redirect."""
    pager.answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    answer = await client.get(f"http://user:{SECRET}@{pager.host}{PATH}")
    with pytest.raises(httpx2.HTTPStatusError) as failure:
        answer.raise_for_status()
    assert str(failure.value) == f"{pager.host} answered {status[:3]}"
    assert failure.value.response is answer
    assert SECRET not in "".join(traceback.format_exception(failure.value))


async def test_a_success_is_handed_through(client: Client, pager: Pager) -> None:
    """`raise_for_status()` gives the response back, as httpx2's does."""
    answer = await client.get(f"http://{pager.host}{PATH}")
    assert answer.raise_for_status() is answer


async def _nobody_there(client: Client, _: Pager) -> None:
    await client.get(f"http://127.0.0.1:1{PATH}")


async def _cut_off(client: Client, pager: Pager) -> None:
    pager.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    await client.get(f"http://{pager.host}{PATH}")


async def _nonsense(client: Client, pager: Pager) -> None:
    pager.answer = f"{SECRET}\r\n\r\n".encode()
    await client.get(f"http://{pager.host}{PATH}")


async def _a_token_with_a_line_end(client: Client, pager: Pager) -> None:
    await client.get(f"http://{pager.host}{PATH}", headers={"authorization": f"Bearer {SECRET}\n"})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (_nobody_there, "no answer from 127.0.0.1:1: "),
        (_cut_off, "no answer from 127.0.0.1:"),
        (_nonsense, "no answer from 127.0.0.1:"),
        (_a_token_with_a_line_end, "no answer from 127.0.0.1:"),
    ],
)
async def test_a_request_that_fails_names_the_host(
    client: Client, pager: Pager, call: Callable[[Client, Pager], Awaitable[None]], expected: str
) -> None:
    """Not the URL, not a header and nothing of the answer, in the error's chain neither."""
    with pytest.raises(httpx2.TransportError) as failure:
        await call(client, pager)
    assert str(failure.value).startswith(expected)
    assert SECRET not in "".join(traceback.format_exception(failure.value))


async def test_no_cookie_is_kept(client: Client, pager: Pager) -> None:
    """One handler's session is not sent with another's request; a handler's own cookies are."""
    pager.answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    url = f"http://{pager.host}/"
    answer = await client.get(url)
    await client.get(url)
    await client.get(url, headers={"cookie": "mine=1"})
    assert answer.cookies["session"] == "1"
    assert [b"cookie" in head.lower() for head in pager.heads] == [False, False, True]


async def test_no_handler_closes_it_for_the_others(client: Client, pager: Pager) -> None:
    """`async with ctx.http` is what one writes by habit; the worker closes it when it ends."""
    async with client:
        pass
    async with client:
        await client.aclose()
    assert (await client.get(f"http://{pager.host}/")).is_success
    await client.end()
    assert client.is_closed


async def test_no_secret_of_a_url_is_told_of_a_handlers_failure(rig: Rig, pager: Pager) -> None:
    """A handler as the README shows it: `show` and the dead letter name its target's host and status."""

    async def call_the_team(_: Event, ctx: Context) -> None:
        (await ctx.http.post(f"http://{pager.host}{PATH}")).raise_for_status()

    pager.answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    delivery = await rig.send("e1")
    async with rig.working({"action.created": [call_the_team]}, max_tries=2):
        await rig.closed(delivery)
    [letter] = await rig.letters()
    assert letter.reason == f"HTTPStatusError: {pager.host} answered 403; all 2 tries used up"
    assert SECRET not in str(await rig.story(delivery))


async def test_the_request_that_failed_is_the_one_named(client: Client, pager: Pager) -> None:
    """Where a redirect led, or where a token was to be fetched, not where the call began."""
    pager.answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(httpx2.ConnectError, match=r"no answer from 127\.0\.0\.1:1: ") as failure:
        await client.get(f"http://{pager.host}{PATH}", follow_redirects=True)
    assert failure.value.request.url.port == 1
