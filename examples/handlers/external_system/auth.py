"""Who we are to the target: headers for none, bearer, basic, API key and OAuth2 client credentials."""

import asyncio
import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
from pydantic import SecretStr

from examples.handlers.external_system.target import Auth

_EARLY = 30.0  # seconds before its end that a token is renewed


class TokenRefused(Exception):
    """The token endpoint gave no token: its answer says how; a 4xx is for a person to mend."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__(f"the token endpoint answered {answer.status_code} and no token")
        self.answer = answer


@dataclass(slots=True)
class Authorizer:
    """The headers that say who we are, and a token kept until shortly before it ends."""

    auth: Auth
    secrets: Mapping[str, SecretStr]
    token_url: str = ""
    timeout: float = 10.0
    _token: str | None = field(default=None, repr=False)
    _until: float = 0.0
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def renewable(self) -> bool:
        return self.auth.kind == "oauth2"

    async def headers(self, http: httpx2.AsyncClient, refused: Mapping[str, str] | None = None) -> dict[str, str]:
        """Headers for a request; never those with the token that was just `refused`."""
        match self.auth.kind:
            case "bearer":
                return {"authorization": f"Bearer {self._secret('token')}"}
            case "basic":
                return {"authorization": f"Basic {self._pair('username', 'password')}"}
            case "api_key":
                return {self.auth.header or "": self._secret("api_key")}
            case "oauth2":
                async with self._fetching:  # many handlers that need a token at once need one token
                    current = {"authorization": f"Bearer {self._token}"}
                    if self._token is None or time.monotonic() > self._until or current == refused:
                        await self._fetch_token(http)
                    return {"authorization": f"Bearer {self._token}"}
        return {}

    def hidden(self, text: str) -> str:
        """The text without any of our secrets, should the target have repeated one."""
        pair = self._pair("username", "password") if self.auth.kind == "basic" else None
        for secret in (pair, self._token, *(secret.get_secret_value() for secret in self.secrets.values())):
            text = text.replace(secret, "***") if secret else text
        return text

    async def _fetch_token(self, http: httpx2.AsyncClient) -> None:
        """RFC 6749, section 4.4: our own credentials for a token; section 2.3.1 has both places for them."""
        form = {"grant_type": "client_credentials"} | ({"scope": self.auth.scope} if self.auth.scope else {})
        if self.auth.credentials == "body":
            headers, form = {}, form | {name: self._secret(name) for name in ("client_id", "client_secret")}
        else:
            headers = {"authorization": f"Basic {self._pair('client_id', 'client_secret')}"}
        response = await http.post(
            self.token_url,
            data=form,
            headers=headers,
            timeout=httpx2.Timeout(self.timeout, connect=min(5.0, self.timeout)),
            follow_redirects=False,
        )
        if not response.is_success:
            raise TokenRefused(response)
        try:
            answer = response.json()
            self._token, lifetime = str(answer["access_token"]), float(answer.get("expires_in", 300))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TokenRefused(response) from None
        self._until = time.monotonic() + max(lifetime - _EARLY, 0.0)

    def _pair(self, name: str, password: str) -> str:
        return base64.b64encode(f"{self._secret(name)}:{self._secret(password)}".encode()).decode()

    def _secret(self, name: str) -> str:
        return self.secrets[name].get_secret_value()
