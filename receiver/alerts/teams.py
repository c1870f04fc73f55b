"""A Teams workflow: which URL is one, and what its answer means for a card."""

import asyncio
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx2
from pydantic import SecretStr

from receiver import retry_after
from receiver.client import Client

HOSTS = (".logic.azure.com", ".api.powerplatform.com", ".logic.azure.us", ".api.powerplatform.us")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TIMEOUT = 10.0
_RETIRED_HOSTS = (".webhook.office.com", ".outlook.office.com", ".outlook.office365.com")


def checked_url(value: SecretStr) -> SecretStr:
    """A setting's value. Raises ValueError, without the URL, which holds a signature."""
    text = value.get_secret_value()
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
        httpx2.URL(text)  # what the client would refuse later
    except (ValueError, httpx2.InvalidURL):
        raise ValueError("expected the https:// URL of a Teams workflow") from None
    if f".{host}".endswith(_RETIRED_HOSTS):
        raise ValueError(
            "is an Office 365 connector, which Microsoft retired in May 2026; make the workflow "
            "'Send webhook alerts to a channel' in Teams and use its URL"
        )
    if not host or not (url.scheme == "https" or (url.scheme == "http" and host in LOOPBACK)):
        raise ValueError("expected the https:// URL of a Teams workflow (http only for 127.0.0.1)")
    return value


class Answer(NamedTuple):
    """`why` is one line about a card that was not accepted, "" for one that was; `wait` is what Teams asked for (s)."""

    why: str = ""
    wait: float = 0.0


async def post(url: SecretStr, body: bytes) -> Answer:
    """Post a card. A time-out is ambiguous: a card twice is better than no card."""
    client = Client(timeout=TIMEOUT)
    try:
        async with asyncio.timeout(TIMEOUT):
            response = await client.post(
                url.get_secret_value(), content=body, headers={"content-type": "application/json"}
            )
            response.raise_for_status()
    except httpx2.HTTPStatusError as error:
        return Answer(str(error), retry_after.seconds(error.response) or 0.0)
    except (httpx2.HTTPError, TimeoutError) as error:
        return Answer(str(error) or type(error).__name__)
    finally:
        await client.end()
    return Answer()
