"""HOST may be IPv4, IPv6 or both; a server ends in order whenever it is stopped."""

import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from receiver.environment import SettingsError
from receiver.port.listening import base_url, listen, run
from tests.conftest import TOKEN, Start
from tests.worker.test_up import free_port, light, started

__all__ = ["light"]
needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6")


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("::1", "http://[::1]:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
        ("hooks.internal", "http://hooks.internal:8000"),
    ],
)
def test_this_machines_own_url(start: Start, host: str, base: str) -> None:
    """What `url` prints without --base, and `make run` at its start."""
    assert base_url(host, 8000) == base
    told = start("-m", "receiver", "url", WEBHOOK_TOKEN=TOKEN, HOST=host)
    assert told.wait() == 0
    assert f"{base}/webhooks/glartek/{TOKEN}" in told.output


def test_a_host_that_there_is_not_is_said() -> None:
    """The system has no words for the number of such an error: "Unknown error -2"."""
    with pytest.raises(SettingsError, match=r"cannot listen on no-such-host\.invalid:8000 \(no such host\)"):
        listen("no-such-host.invalid", 8000)


@needs_ipv6
@pytest.mark.parametrize(("host", "reached"), [("::1", ["[::1]"]), ("::", ["[::1]", "127.0.0.1"])])
def test_ipv6_is_listened_on_and_for_any_address_ipv4_too(
    start: Start, valkey_url: str, host: str, reached: list[str]
) -> None:
    """A delivery is stored whichever way it came."""
    process = start("-m", "receiver", REDIS_URL=valkey_url, WEBHOOK_TOKEN=TOKEN, HOST=host, PORT="0")
    said = re.search(rf'"address": "\[{host}\]:(\d+)"', process.wait_for("receiver listening"))
    assert said
    for name in reached:
        url = f"http://{name}:{said[1]}/webhooks/glartek/{TOKEN}"
        assert httpx2.post(url, content=b'{"id": "1", "type": "action.solved"}').status_code == 200


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_make_run_prints_a_url_that_works(start: Start, light: dict[str, str], host: str) -> None:
    """With the brackets that a URL needs."""
    url = started(start("-m", "worker.up", **light | {"HOST": host, "PORT": free_port()}))
    assert url.startswith("http://[::1]:")
    assert httpx2.post(url, content=b'{"id": "1", "type": "action.solved"}').status_code == 200


class StoppedAtOnce(uvicorn.Server):
    """One that is stopped when its event loop runs, and before it has taken the signals over."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        signal.raise_signal(signal.SIGTERM)
        await super().serve(sockets)


def test_a_signal_that_comes_early_ends_a_server_in_order(restored: None) -> None:
    """Its lifespan begins and ends, and nothing is raised: exit code 0, where it was 1 with a trace."""
    del restored
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        seen.append("begun")
        yield
        seen.append("ended")

    server = StoppedAtOnce(uvicorn.Config(Starlette(lifespan=lifespan), log_config=None))
    with listen("127.0.0.1", 0) as listener:
        run(server, [listener])
    assert seen == ["begun", "ended"]


@pytest.fixture
def restored() -> Iterator[None]:
    """The handlers of signals are as before when the test is over."""
    before = {number: signal.signal(number, lambda *_: sys.exit(0)) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
