"""The exact requests that an update would make, in order, secrets left out: for `preview`, here and in `explain`."""

import json
import re
from typing import Any

import httpx2

from examples.handlers.external_system import request
from examples.handlers.external_system.auth import OAuth2
from examples.handlers.external_system.session import Answer, Link, Session
from worker import Event

_EVERY_REQUESTS = {b"Host", b"Content-Length", b"Accept-Encoding", b"Connection", b"User-Agent"}


class _Unsent(Answer):
    """Stands for what the target would answer."""

    def at(self, path: str) -> str:
        return f"({path} from the answer above)"

    def header(self, name: str) -> str:
        return self.at(name)


async def requests(event: Event, link: Link, key: str) -> list[dict[str, Any]]:
    """What would be sent, with the answers that are needed in between made up. Raises `Unmappable`."""
    kept: list[httpx2.Request] = []

    class Preview(Session):
        """Keeps the requests instead of sending them."""

        async def _answer(self, request: httpx2.Request) -> Answer:
            kept.append(request)
            return _Unsent(httpx2.Response(200))

    async with httpx2.AsyncClient() as http:
        _, order, body = request.build(event, link.target)
        await link.target.update(order, body, Preview(link, http, key))
    return [_told(request, link.auth) for request in kept]


def _told(request: httpx2.Request, auth: httpx2.Auth) -> dict[str, Any]:
    next(auth.sync_auth_flow(request))
    if isinstance(auth, OAuth2):
        request.headers["Authorization"] = f"Bearer *** (a token from {auth.url})"
    if isinstance(auth, httpx2.BasicAuth):
        request.headers["Authorization"] = "Basic ***"
    headers = {name.decode(): value.decode() for name, value in request.headers.raw if name not in _EVERY_REQUESTS}
    url = re.sub(r"%28([\w.-]+)%20from%20the%20answer%20above%29", r"(\1 from the answer above)", str(request.url))
    told = {"method": request.method, "url": url, "headers": headers}
    return told | ({"body": json.loads(request.content)} if request.content else {})
