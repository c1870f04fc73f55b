"""Middleware that a customer adds."""

from starlette.middleware import Middleware
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.app import create_app
from receiver.settings import ReceiverSettings
from tests.receiver.conftest import PATH


class Noting:
    """Notes each request's path."""

    def __init__(self, application: ASGIApp, seen: list[str]) -> None:
        self._application, self._seen = application, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._seen.append(scope["path"])
        await self._application(scope, receive, send)


def test_it_sees_every_request(in_process: ReceiverSettings) -> None:
    """A delivery, the health check, and what is refused."""
    seen: list[str] = []
    with TestClient(create_app(in_process, [Middleware(Noting, seen)])) as client:
        assert client.post(PATH, json={"id": "e1"}).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert client.get(PATH).status_code == 405
        assert client.get("/").status_code == 404
    assert seen == [PATH, "/healthz", PATH, "/"]
