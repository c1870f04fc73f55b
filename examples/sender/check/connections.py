"""HTTP as senders really speak it: chunked, slow, one connection for many requests, a secret in the path."""

import re

from examples.sender.check.bench import Bench, said
from examples.sender.check.findings import Failed, Warned, check
from examples.sender.http.wire import Connection, Endpoint

_TOKEN = 16  # characters: a shorter last segment is a name, not a secret


@check(
    "Accepts a chunked body",
    glartek="does not say whether it announces a length: many HTTP clients send chunks, and a refusal is a failure",
    mend="Put a server or a proxy in front that understands Transfer-Encoding: chunked; do not rely on Content-Length.",
)
async def chunked_body(bench: Bench) -> str:
    reply = await bench.post(bench.message(), parts=2, chunked=True)
    if not bench.fine(reply):
        raise Failed(f"in two chunks: {said([reply])}")
    return f"in two chunks: {said([reply])}"


@check(
    "Accepts a body that arrives slowly",
    glartek="does not control the network in between: what arrives within its 10 s should be taken",
    mend="Give a body several seconds before answering 408.",
)
async def slow_body(bench: Bench) -> str:
    reply = await bench.post(bench.message(), parts=5, pause=bench.limits.slow_body / 4)
    if not bench.fine(reply):
        raise Failed(f"over {bench.limits.slow_body:g} s: {said([reply])}")
    return f"over {bench.limits.slow_body:g} s: {said([reply])}"


@check(
    "Serves several events on one connection, or says that it will not",
    glartek="finds its next request cut off when a connection is closed unannounced; it cannot know whether the event "
    "was taken, and sends it again",
    mend="Keep connections open for some seconds longer than idle senders do, or answer with Connection: close.",
)
async def keep_alive(bench: Bench) -> str:
    connection = await bench.connect()
    replies = []
    try:
        for _ in range(3):
            message = bench.message()
            replies.append(await connection.post(message.body, bench.headers(message), bench.limits.timeout))
            if not connection.usable:
                break
            if await connection.closed_within(0.05):
                raise Failed(f"closed the connection right after its answer number {len(replies)}, without saying so")
    finally:
        connection.close()
    if not all(map(bench.fine, replies)):
        raise Failed(f"on one connection: {said(replies)}")
    return f"{len(replies)} on one connection" if len(replies) > 1 else "says Connection: close, which is allowed"


@check(
    "Lets nobody in who does not know the URL's secret",
    glartek="has no field for a secret or a header: the URL is the only place for one. Glartek sees no difference, "
    "but anyone who guesses the URL can send events",
    mend="End the URL with a long random token and answer 404 to any other, compared in constant time.",
)
async def secret_in_url(bench: Bench) -> str:
    last = re.split(r"[/?&=]", bench.url)[-1]
    if len(last) < _TOKEN or not re.search(r"\d", last):
        raise Warned("this URL does not seem to hold a secret; behind a VPN or an allow list that may be right")
    other = bench.url[:-1] + ("A" if last[-1] != "A" else "B")
    message = bench.message()
    connection = await Connection(Endpoint.of(other)).open(bench.limits.timeout)
    try:
        reply = await connection.post(message.body, bench.headers(message), bench.limits.timeout)
    finally:
        connection.close()
    if reply.status is None or reply.status < 400:  # noqa: PLR2004 - any refusal is a 4xx or more
        raise Failed(f"one letter of it changed: {said([reply])}")
    return f"one letter changed: {said([reply])}"
