"""Authentication at the target: what a module names as its `auth`, a function from secrets to an `httpx2.Auth`."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass, field

import httpx2
from pydantic import SecretStr

_EARLY = 30.0  # seconds before its end that a token is renewed


@dataclass(frozen=True, slots=True)
class Secrets:
    """The values of EXTERNAL_TOKEN and its like, by name; `asked` are those that an auth was made of."""

    base_url: str
    given: Mapping[str, SecretStr | None]
    asked: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> str:
        self.asked.add(name)
        secret = self.given[name]
        return secret.get_secret_value() if secret else ""


MakeAuth = Callable[[Secrets], httpx2.Auth]


def bearer(secret: Secrets) -> httpx2.Auth:
    """EXTERNAL_TOKEN."""
    return _Header("authorization", f"Bearer {secret('token')}")


def basic(secret: Secrets) -> httpx2.Auth:
    """EXTERNAL_USERNAME and EXTERNAL_PASSWORD."""
    return httpx2.BasicAuth(secret("username"), secret("password"))


def api_key(header: str) -> MakeAuth:
    """EXTERNAL_API_KEY in a header such as `X-Api-Key`."""
    return lambda secret: _Header(header, secret("api_key"))


def oauth2(token_url: str, *, scope: str = "", in_body: bool = False) -> MakeAuth:
    """A token for EXTERNAL_CLIENT_ID and EXTERNAL_CLIENT_SECRET from a path after EXTERNAL_URL, or from https://….

    The credentials go into the header, where every server has to take them, or `in_body`, where some insist on them.
    """
    if not token_url.startswith(("/", "https://")):
        raise ValueError(f"expected a token_url such as /oauth/token or https://…, got {token_url!r}")
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})

    def make(secret: Secrets) -> httpx2.Auth:
        url = secret.base_url + token_url if token_url.startswith("/") else token_url
        client = {name: secret(name) for name in ("client_id", "client_secret")}
        return OAuth2(url, form | client) if in_body else OAuth2(url, form, httpx2.BasicAuth(*client.values()))

    return make


class _Header(httpx2.Auth):
    def __init__(self, name: str, value: str) -> None:
        self._name, self._value = name, value

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        request.headers[self._name] = self._value
        yield request


class OAuth2(httpx2.Auth):
    """Client credentials (RFC 6749, section 4.4): one token for all updates, kept until shortly before it ends.

    If no token is given, the answer that says so is the answer to the request.
    """

    def __init__(self, url: str, form: Mapping[str, str], auth: httpx2.Auth | None = None) -> None:
        self.url, self._form, self._auth = url, form, auth or httpx2.Auth()
        self._token, self._until = "", 0.0
        self._fetching = asyncio.Lock()

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with the token; one that is refused is renewed once."""
        refused = ""
        for _ in range(2):
            async with self._fetching:  # updates that need a token at the same time share one
                if self._token == refused or time.monotonic() >= self._until:
                    headers = {"accept": "application/json", "user-agent": request.headers["user-agent"]}
                    asking = httpx2.Request(
                        "POST", self.url, headers=headers, data=self._form, extensions=request.extensions
                    )
                    response = yield next(self._auth.auth_flow(asking))
                    await response.aread()
                    if not self._keep(response):
                        return
                refused = self._token
            request.headers["authorization"] = f"Bearer {refused}"
            response = yield request
            if response.status_code != httpx2.codes.UNAUTHORIZED:
                return

    def _keep(self, response: httpx2.Response) -> bool:
        try:
            answer = response.json()
            token, lifetime = answer["access_token"], answer.get("expires_in", 300)
            seconds = math.inf if lifetime is None else float(lifetime)  # null: good until it is refused
        except (ValueError, TypeError, KeyError, AttributeError):
            return False
        if not (response.is_success and isinstance(token, str) and token.isascii() and token.isprintable() and token):
            return False
        self._token, self._until = token, time.monotonic() + max(seconds - _EARLY, 0.0)
        return True
