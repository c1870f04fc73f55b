"""`python -m worker console`: a private server that is up whatever Redis does."""

import signal
import socket

import httpx2
import pytest

from tests.conftest import Server, Start, wait_until
from tests.worker.console.conftest import address


def redis_seen(base: str) -> str:
    answer = httpx2.get(f"{base}/healthz")
    assert answer.status_code == 200
    redis: str = answer.json()["redis"]
    return redis


def test_it_listens_on_loopback_and_tells_whether_it_sees_redis(server: Server, start: Start) -> None:
    """200 while it runs; a Redis that is away is told, and no reason to restart it. SIGTERM ends it with code 0."""
    console = start("-m", "worker", "console", REDIS_URL=server.url, CONSOLE_PORT="0")
    base = address(console)
    assert base.startswith("http://127.0.0.1:")
    assert redis_seen(base) == "ok"
    server.kill()
    wait_until(lambda: redis_seen(base) == "away")
    server.start()
    wait_until(lambda: redis_seen(base) == "ok")
    console.signal(signal.SIGTERM)
    assert console.wait(timeout=5) == 0
    assert "Traceback" not in console.output


@pytest.mark.parametrize("path", ["/", "/webhooks/glartek/token", "/docs"])
def test_it_answers_nothing_else(start: Start, valkey_url: str, path: str) -> None:
    """What is not one of its paths is 404; a delivery is not taken here."""
    console = start("-m", "worker", "console", REDIS_URL=valkey_url, CONSOLE_PORT="0")
    assert httpx2.post(address(console) + path).status_code in {404, 405}


def test_a_browser_that_goes_in_the_middle_of_its_form_is_no_error(start: Start, valkey_url: str) -> None:
    """Nothing is changed, and nothing is logged."""
    console = start("-m", "worker", "console", REDIS_URL=valkey_url, CONSOLE_PORT="0")
    host, _, port = address(console).rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port))) as browser:
        browser.sendall(b"POST /dead/run HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\na=")
    assert redis_seen(address(console)) == "ok"
    assert console.stop() == 0
    assert "Exception" not in console.output


def test_an_occupied_port_is_one_line(start: Start, valkey_url: str) -> None:
    """The line names the settings of the console, not those of the public port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        console = start("-m", "worker", "console", REDIS_URL=valkey_url, CONSOLE_PORT=port)
        assert console.wait() == 2
    assert "stop what is using it, or set CONSOLE_HOST or CONSOLE_PORT" in console.output
    assert "Traceback" not in console.output
