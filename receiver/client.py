"""The HTTP client that all handlers share: its errors name host and status and no more, it keeps no cookies, and no
handler closes it for the others.

A URL may hold a secret anywhere: Teams' in the query, a pager's in the path. httpx2 writes the whole URL into the error
of `raise_for_status()`, and from there it would go into the log, `show` and dead letters.
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Self

import httpx2

_SAFE = (httpx2.ConnectError, httpx2.UnsupportedProtocol)
"""Errors whose text is the system's or httpx2's own; others may quote a header, such as a token with a line end."""


class Client(httpx2.AsyncClient):
    """httpx2's client for all handlers of a process; a handler that needs cookies makes a client of its own."""

    def __init__(self, **options: Any) -> None:
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # handlers must not share a session
        super().__init__(**{"timeout": 10, "follow_redirects": False, "cookies": nothing, **options})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stay open: `async with ctx.http` in one handler would end every other one's requests, until a restart."""

    async def aclose(self) -> None:
        """Stay open, too."""

    async def end(self) -> None:
        """Close it, when the worker ends."""
        await super().aclose()

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """As httpx2's, through which every request goes. Raises its errors, without their text and cause."""
        try:
            response = await super().send(request, **options)
        except httpx2.RequestError as error:
            failed = error.request  # which may be another one: a token's, or where a redirect led
            said = f": {error}" if isinstance(error, _SAFE) and str(error) else ""
            raise type(error)(f"no answer from {_host(failed)}{said}", request=failed) from None
        response.__class__ = _Response
        return response


class _Response(httpx2.Response):
    def raise_for_status(self) -> httpx2.Response:
        """Raise `httpx2.HTTPStatusError` unless the status is 2xx."""
        if self.is_success:
            return self
        message = f"{_host(self.request)} answered {self.status_code}"
        raise httpx2.HTTPStatusError(message, request=self.request, response=self)


def _host(request: httpx2.Request) -> str:
    return request.url.netloc.decode("ascii", "replace") or "an address without a host"
