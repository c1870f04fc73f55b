"""Who may see the console and who may change something: the one gate in front of every page.

On loopback without a password whoever is on this machine is the operator. There the `Host` has to be this machine's
name: a page of the internet whose name leads to 127.0.0.1 (DNS rebinding) would be of the same origin else. On any
other address, and wherever a password is set, it is HTTP's Basic authentication: the name is free and goes into the
log, the password decides the role.

A change is taken only from a page of the console: `Origin` or `Sec-Fetch-Site` has to say so, and the form has to have
the token that the page was given. `/metrics` and `/healthz` hold figures and no events, and stay open for machines.
"""

import asyncio
import base64
import binascii
import hmac
import secrets
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import structlog
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.console.settings import ConsoleSettings, is_loopback

OPEN = {"/healthz", "/metrics"}
LONGEST_NAME = 60
WRONG = 0.5
"""Seconds that each wrong password takes, one after the other: two guesses a second from all clients together."""
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer a browser would say `Origin: null` of our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
log = structlog.get_logger()


class Visitor(NamedTuple):
    """Who asks. `token` has to come back with every change."""

    name: str
    may_change: bool
    token: str


class Access:
    """What the settings say of visitors."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._key = secrets.token_bytes(32)  # of this process: a page from before a restart is loaded anew
        self._wrong = asyncio.Lock()

    async def visitor(self, headers: Mapping[str, str]) -> Visitor | Response:
        """Who it is, or the answer that refuses."""
        operator, reader = self._settings.console_password, self._settings.console_reader_password
        if operator or reader:
            return await self._known(headers.get("authorization", ""), operator, reader)
        if not self._settings.is_on_loopback:
            return _refusal(403, "CONSOLE_PASSWORD: is not set, and this address is not loopback; set it to see pages")
        if not is_loopback(_parts_of(f"//{headers.get('host', '')}").hostname or ""):
            return _refusal(403, "open it as http://127.0.0.1: another name may be somebody else's page")
        return self._visitor("local", may_change=True)

    async def _known(
        self, authorization: str, operator: SecretStr | None, reader: SecretStr | None
    ) -> Visitor | Response:
        name, password = _credentials(authorization)
        for secret, may_change in ((operator, True), (reader, False)):
            if secret and hmac.compare_digest(password.encode(), secret.get_secret_value().encode()):
                return self._visitor(name or "(no name)", may_change=may_change)
        if authorization:
            async with self._wrong:
                await asyncio.sleep(WRONG)
            log.warning("console: wrong password")
        refused = _refusal(401, "a password is needed: CONSOLE_PASSWORD, with any name")
        refused.headers["www-authenticate"] = 'Basic realm="Glartek console", charset="UTF-8"'
        return refused

    def _visitor(self, name: str, *, may_change: bool) -> Visitor:
        token = hmac.digest(self._key, f"{may_change} {name}".encode("utf-8", "backslashreplace"), "sha256").hex()
        return Visitor(name[:LONGEST_NAME], may_change, token)


def refused_change(visitor: Visitor, headers: Mapping[str, str], form: Mapping[str, str]) -> str | None:
    """Why a change is refused; None where it is taken."""
    if not visitor.may_change:
        return "you may look, and change nothing: this is CONSOLE_READER_PASSWORD"
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    is_own = (origin is not None or site is not None) and site in {None, "same-origin"}
    if not is_own or (origin is not None and _parts_of(origin).netloc != headers.get("host")):
        return "this did not come from a page of the console"
    if not hmac.compare_digest(form.get("token", "").encode(), visitor.token.encode()):
        return "the page is older than the console: load it again"
    return None


class Gate:
    """ASGI middleware: refuses who may not see the console; sets the headers that restrict what a page may load."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        visitor = await self._access.visitor(Headers(scope=scope))
        if isinstance(visitor, Response):
            await visitor(scope, receive, send_with_headers)
            return
        scope["visitor"] = visitor
        await self._app(scope, receive, send_with_headers)


def _parts_of(url: str) -> SplitResult:
    """Those of a header; empty where it is no URL, such as `http://[`."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def _refusal(status: int, line: str) -> Response:
    return PlainTextResponse(f"{line}\n", status)
