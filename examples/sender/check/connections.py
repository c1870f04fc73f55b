"""HTTP features that senders use: chunked and slow bodies, kept connections, a secret in the path."""

import re
from http import HTTPStatus

from examples.sender.check.context import CheckContext, said
from examples.sender.check.effects import kept
from examples.sender.check.findings import Failed, Skipped, Warned, check
from examples.sender.http.message import Message

_H2C = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAABAAMAAABk"}
_TOKEN = 16  # characters: a shorter last segment is taken for a name


@check(
    "Accepts a chunked body",
    likely="possible",
    glartek="does not say whether it announces a length: many HTTP clients send chunks, and a refusal is a failure",
    mend="Put a server or a proxy in front that understands Transfer-Encoding: chunked; do not rely on Content-Length.",
)
async def chunked_body(context: CheckContext) -> str:
    reply = await context.post(context.message(), parts=2, chunked=True)
    if not context.fine(reply):
        raise Failed(f"in two chunks: {said([reply])}", reply)
    return f"in two chunks: {said([reply])}"


@check(
    "Accepts a body that arrives slowly",
    likely="possible",
    glartek="does not control the network in between: what arrives within its 10 s should be taken",
    mend="Give a body several seconds before answering 408.",
    takes=lambda context: context.limits.slow_body + context.alone,
)
async def slow_body(context: CheckContext) -> str:
    reply = await context.post(context.message(), parts=5, pause=context.limits.slow_body / 4)
    if not context.fine(reply):
        raise Failed(f"over {context.limits.slow_body:g} s: {said([reply])}", reply)
    return f"over {context.limits.slow_body:g} s: {said([reply])}"


@check(
    "Accepts an event that asks first whether it may send its body",
    likely="possible",
    glartek="may use a client that sends Expect: 100-continue with longer bodies, as .NET, Apache HttpClient and curl "
    "do; a refusal is a failure",
    mend="Answer 100 Continue, or read the body without it: the server's own support is enough, a 417 is not.",
)
async def expect_continue(context: CheckContext) -> str:
    reply = await context.post(context.message().having({"expect": "100-continue"}))
    if not context.fine(reply):
        raise Failed(f"Expect: 100-continue: {said([reply])}", reply)
    return f"Expect: 100-continue: {said([reply])}" + ("" if reply.continued else ", without 100 Continue")


@check(
    "Keeps an event whose sender offers HTTP/2",
    likely="possible",
    glartek="may use Java's own HTTP client, which offers an upgrade to HTTP/2 with every request over plain http: "
    "what is answered 200 and not read is lost for good",
    mend="Ignore the Upgrade header, as HTTP allows, and read the body like any other: a proxy in front can drop the "
    "header; with uvicorn use --http h11, for its httptools parser loses such a body.",
    takes=lambda context: 0.1 + 4 * context.alone,
)
async def upgrade_offered(context: CheckContext) -> str:
    later = await context.post(context.message().having(_H2C), parts=1, lead=0.1)
    message = context.message().having(_H2C)
    joined = await context.post(message, lead=None)
    seen = f"Upgrade: h2c, the body behind the head: {said([later])}; in one piece with it: {said([joined])}"
    if HTTPStatus.SWITCHING_PROTOCOLS in {later.status, joined.status}:
        raise Skipped(f"{seen}: it goes on in HTTP/2, which this tool does not speak")
    if not context.fine(later) or not context.fine(joined):
        raise Failed(seen, later, joined)
    if context.count and message.id:
        return f"{seen}{await kept(context, message, seen)}"
    return f"{seen}; {await _read_behind_an_upgrade(context, seen)}"


async def _read_behind_an_upgrade(context: CheckContext, seen: str) -> str:
    """Whether the body is read, found without counting effects: a bad body must be refused with Upgrade too."""
    message = Message.raw(b"not json")
    plain = await context.post(message)
    if context.fine(plain) or plain.status is None:
        return "whether its body was read is seen with --effects-cmd"
    upgraded = await context.post(message.having(_H2C), lead=None)
    if context.fine(upgraded):
        told = f"without Upgrade: {said([plain])}, with it: {said([upgraded])}"
        raise Failed(f"{seen}; a body that is not JSON {told}: it was not read")
    return "a body that is not JSON is refused with and without it"


@check(
    "Serves several events on one connection, or says that it will not",
    likely="likely",
    glartek="loses its next request if a connection is closed without announcement; it cannot know whether the event "
    "was taken, and sends it again",
    mend="Keep connections open for some seconds longer than idle senders do, or answer with Connection: close.",
)
async def keep_alive(context: CheckContext) -> str:
    connection = await context.connect()
    replies = []
    try:
        for _ in range(3):
            replies.append(await context.post_on(connection))
            if not connection.usable:
                break
            if await connection.closed_within(0.05):
                raise Failed(f"closed the connection right after its answer number {len(replies)}, without saying so")
    finally:
        connection.close()
    if not all(map(context.fine, replies)):
        raise Failed(f"on one connection: {said(replies)}", *replies)
    return f"{len(replies)} on one connection" if len(replies) > 1 else "says Connection: close, which is allowed"


@check(
    "Lets nobody in who does not know the URL's secret",
    likely="unlikely",
    glartek="has no field for a secret or a header: the URL is the only place for one. Glartek sees no difference, "
    "but anyone who guesses the URL can send events",
    mend="End the URL with a long random token and answer 404 to any other, compared in constant time.",
)
async def secret_in_url(context: CheckContext) -> str:
    last = re.split(r"[/?&=]", context.url)[-1]
    if len(last) < _TOKEN or not re.search(r"\d", last):
        raise Warned("this URL does not seem to hold a secret; behind a VPN or an allow list that may be right")
    other = context.url[:-1] + ("A" if last[-1] != "A" else "B")
    for _ in range(5):  # an error tells nothing: it may come to any event now and then
        connection = await context.connect(other)
        try:
            reply = await context.post_on(connection)
        finally:
            connection.close()
        if reply.status and reply.status < 500:  # noqa: PLR2004 - an error status
            break
    if reply.status is None or reply.status < 400:  # noqa: PLR2004 - a refusal is 400 or more
        raise Failed(f"one letter of it changed: {said([reply])}")
    return f"one letter changed: {said([reply])}"
