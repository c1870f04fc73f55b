"""Who we are to the target: headers for none, bearer, basic, API key and OAuth2 client credentials."""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
from pydantic import SecretStr

from examples.handlers.external_system.target import Auth

_EARLY = 30.0  # seconds before its end that a token is renewed


class TokenRefused(Exception):
    """The token endpoint gave no token: `status` says how; a 4xx is for a person to mend."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the token endpoint answered {status} and no token")
        self.status = status


@dataclass(slots=True)
class Authorizer:
    """The headers that say who we are, and a token kept until shortly before it ends."""

    auth: Auth
    secrets: Mapping[str, SecretStr]
    token_url: str = ""
    timeout: float = 10.0
    _token: str | None = field(default=None, repr=False)
    _until: float = 0.0

    @property
    def renewable(self) -> bool:
        return self.auth.kind == "oauth2"

    async def headers(self, http: httpx2.AsyncClient, *, renew: bool = False) -> dict[str, str]:
        """Headers for a request; `renew` asks for a new token even if the old one should still do."""
        match self.auth.kind:
            case "bearer":
                return {"authorization": f"Bearer {self._secret('token')}"}
            case "basic":
                pair = f"{self._secret('username')}:{self._secret('password')}"
                return {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            case "api_key":
                return {self.auth.header or "": self._secret("api_key")}
            case "oauth2":
                if renew or self._token is None or time.monotonic() > self._until:
                    await self._fetch_token(http)
                return {"authorization": f"Bearer {self._token}"}
        return {}

    def hidden(self, text: str) -> str:
        """The text without any of our secrets, should the target have repeated one."""
        for secret in (*(secret.get_secret_value() for secret in self.secrets.values()), self._token):
            text = text.replace(secret, "***") if secret else text
        return text

    async def _fetch_token(self, http: httpx2.AsyncClient) -> None:
        """RFC 6749, section 4.4: our own credentials for a token."""
        form = {"grant_type": "client_credentials"} | ({"scope": self.auth.scope} if self.auth.scope else {})
        response = await http.post(
            self.token_url,
            data=form,
            auth=(self._secret("client_id"), self._secret("client_secret")),
            timeout=httpx2.Timeout(self.timeout, connect=3.0),
            follow_redirects=False,
        )
        if not response.is_success:
            raise TokenRefused(response.status_code)
        try:
            answer = response.json()
            self._token, lifetime = str(answer["access_token"]), float(answer.get("expires_in", 300))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TokenRefused(response.status_code) from None
        self._until = time.monotonic() + max(lifetime - _EARLY, 0.0)

    def _secret(self, name: str) -> str:
        return self.secrets[name].get_secret_value()
