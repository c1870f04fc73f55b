"""Reads a body to its end, and refuses one that is not as long as its head says.

A server or proxy in front may have lost or added something: what was not sent like this must not be acknowledged.
"""

from collections.abc import Iterable, Mapping

from starlette.exceptions import HTTPException
from starlette.types import Receive

from receiver.port.bodies import Body

Fields = Iterable[tuple[bytes, bytes]]
"""The header fields of a request as they came, with each repeated one."""


async def read_body(receive: Receive, body: Body, fields: Fields, headers: Mapping[str, str], most: int) -> bytes:
    """The whole body, of `most` bytes at most; `headers` by lower-case name.

    Raises HTTPException: 413 as soon as there is too much of it, 400 where it ends early or late, and what
    `announced_length` raises.
    """
    length = announced_length(fields, headers)
    if length is not None and length > most:
        raise HTTPException(413)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)  # the sender hung up in mid-request: nobody hears this answer
        body.add(message.get("body", b""))
        if body.size > most:
            raise HTTPException(413)
        more = message.get("more_body", False)
    content = body.whole()
    if length not in {None, len(content)} or (not content and length is None and "upgrade" in headers):
        raise HTTPException(400)  # whatever the server in front made of it, this is not what was sent
    return content


def announced_length(fields: Fields, headers: Mapping[str, str]) -> int | None:
    """How long the body says it is; None where it comes in chunks.

    Raises HTTPException with 411 where nothing says where the body ends (RFC 9110, 15.5.12), 501 for a transfer coding
    other than chunked (RFC 9112, 6.1), 400 for a length that is none.
    """
    if "transfer-encoding" in headers:
        codings = [value.strip().lower() for name, value in fields if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            raise HTTPException(501)
        return None
    length = headers.get("content-length")
    if length is None:
        raise HTTPException(411)
    if not (length.isascii() and length.isdecimal()):
        raise HTTPException(400)
    return int(length)
