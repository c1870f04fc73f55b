"""What the endpoint answers when the server in front of it loses or adds something: never 200."""

from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message

from receiver.acceptance import Acceptance
from receiver.delivery import Delivery
from receiver.endpoint import Endpoint
from receiver.port.bodies import Bodies
from receiver.refusals import OnlyFor
from receiver.settings import ReceiverSettings
from tests.conftest import TOKEN

Headers = dict[str, str]


class Stored:
    """Takes every delivery."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def accept_all(self, deliveries: Sequence[Delivery]) -> Sequence[Acceptance]:
        self.bodies += [delivery.body for delivery in deliveries]
        return [Acceptance.STORED] * len(deliveries)


async def answer(headers: Headers, pieces: Sequence[bytes], *, ends: bool = True) -> tuple[int, list[bytes]]:
    """The status of one request whose body the server hands over in these pieces, and what was stored."""
    settings = ReceiverSettings(redis_url="redis://unused", webhook_token=TOKEN, _env_file=None)  # type: ignore[arg-type, call-arg]
    stored, sent = Stored(), list[Message]()
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if ends:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path_params": {"token": TOKEN},
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "state": {"intake": stored},
    }

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await OnlyFor(Endpoint(settings, Bodies(1 << 20, 5)), "POST")(scope, receive, send)
    return sent[0]["status"], stored.bodies


@pytest.mark.parametrize(
    ("headers", "pieces", "ends", "status"),
    [
        ({"content-length": "5"}, [b"12345"], True, 200),
        ({"content-length": "5"}, [b"12", b"345"], True, 200),
        ({"content-length": "0"}, [], True, 200),
        ({"transfer-encoding": "chunked"}, [b"12345"], True, 200),
        ({"transfer-encoding": "Chunked"}, [], True, 200),
        ({"content-length": "5"}, [], True, 400),
        ({"content-length": "5"}, [b"1234"], True, 400),
        ({"content-length": "5"}, [b"123456"], True, 400),
        ({"content-length": "5"}, [b"12345"], False, 400),
        ({"transfer-encoding": "chunked"}, [b"12345"], False, 400),
        ({"content-length": "5", "upgrade": "h2c"}, [], True, 400),
        ({"transfer-encoding": "chunked", "upgrade": "h2c"}, [], True, 400),
        ({"transfer-encoding": "chunked", "upgrade": "h2c"}, [b"1"], True, 200),
        ({"content-length": "x"}, [b"12345"], True, 400),
        ({"content-length": "-1"}, [b"12345"], True, 400),
        ({}, [b"12345"], True, 411),
        ({}, [], True, 411),
        ({"transfer-encoding": "gzip, chunked"}, [b"12345"], True, 501),
        ({"transfer-encoding": ""}, [b"12345"], True, 501),
    ],
)
async def test_a_body_that_is_not_what_was_announced_is_never_200(
    headers: Headers,
    pieces: list[bytes],
    ends: bool,  # noqa: FBT001 - pytest names it
    status: int,
) -> None:
    """Whatever the server makes of a request: 200 only for a whole body, and only then it is stored."""
    assert await answer(headers, pieces, ends=ends) == (status, [b"".join(pieces)] if status == 200 else [])
