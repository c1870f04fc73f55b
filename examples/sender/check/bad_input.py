"""Unexpected input: the receiver must answer without a crash and keep working."""

import asyncio
import gzip
import json
from contextlib import suppress

from examples.sender.check.context import CheckContext, said
from examples.sender.check.effects import kept
from examples.sender.check.findings import Failed, Warned, check
from examples.sender.http.message import Message
from examples.sender.http.reply import Reply
from examples.sender.http.wire import Connection

_CRASH = "takes a 5xx or a broken connection for a failure and sends the same event again, with the same result"
_SHAPES = (b"[]", b'"text"', b"null", b"7", b'{"type": 5, "id": {}}', b'{"id": null, "type": ["x"]}')
_DEEP = b"[" * 5000
_LARGE = (128 * 1024, 512 * 1024, 1024 * 1024)  # bytes
_LANGUAGES = "Inspeção às válvulas · فحص المضخة · 点検 · проверка · 🛠️🔥 · Zürich ẞ · e\u0301 · " + "long " * 4000


@check(
    "Survives a body that is not JSON",
    likely="unlikely",
    glartek=_CRASH,
    mend="Catch what the parser raises; better, store the bytes, answer 200 and let a worker sort it out.",
)
async def not_json(context: CheckContext) -> str:
    return await _survives(context, b"not json", b'{"id": ', b"\x00\xff\xfe\x80", b"a=b&c=d")


@check(
    "Survives an empty body",
    likely="unlikely",
    glartek=_CRASH,
    mend="Do not parse before looking: an empty body is not an event.",
)
async def empty_body(context: CheckContext) -> str:
    return await _survives(context, b"")


@check(
    "Survives JSON of an unexpected shape",
    likely="unlikely",
    glartek=_CRASH,
    mend="Expect any JSON value where an object should be, and any type where a string should be; catch what the "
    "parser raises for JSON that is nested too deep.",
)
async def unexpected_shapes(context: CheckContext) -> str:
    seen = await _survives(context, *_SHAPES)
    deep = await context.post_bytes(_DEEP)
    if _crash(deep):  # only a warning: no sender nests so deeply, and no other event is affected
        raise Warned(f"{seen}; but {_shown(_DEEP)}: {said([deep])}")
    return seen


@check(
    "Accepts an event type that it does not know",
    likely="certain",
    glartek="adds types (webhooks are under active development), and counts the refusal as a failure",
    mend="Answer 200, keep the event, log its type; decide later what to do with it.",
)
async def unknown_event_type(context: CheckContext) -> str:
    return await _accepts(context, "an unknown type", context.retyped("work_order.teleported"))


@check(
    "Accepts text in any language",
    likely="certain",
    glartek="sends what people wrote on site: accents, right-to-left text, emoji and long text. A refusal is a failure",
    mend="Decode the body as UTF-8, store it as UTF-8 (utf8mb4 in MySQL), and do not limit the length of a text.",
)
async def text_in_any_language(context: CheckContext) -> str:
    return await _accepts(
        context, "accents, right-to-left, emoji, 20 kB of text", context.payload() | {"note": _LANGUAGES}
    )


@check(
    "Accepts an event whatever content type it is labelled with",
    likely="possible",
    glartek="does not document its content type: a receiver that requires one may refuse every event",
    mend="Ignore Content-Type; try to parse the body as JSON.",
)
async def any_content_type(context: CheckContext) -> str:
    labels = ("text/plain", "application/json; charset=utf-8", "application/cloudevents+json", "")
    messages = [
        Message("", context.message().body, headers={"content-type": label} if label else {}) for label in labels
    ]
    replies = await context.together(messages)
    bad = [
        f"{label or 'none'}: {said([reply])}"
        for label, reply in zip(labels, replies, strict=True)
        if not context.fine(reply)
    ]
    if bad:
        raise Failed("; ".join(bad), *replies)
    return f"{said(replies)} for text/plain, charset, cloudevents and none"


@check(
    "Accepts a large event",
    likely="possible",
    glartek="puts no limit to the size of an event: a Work Order with many tasks and answers is long. A refusal is a "
    "failure, each time that it is sent",
    mend="Raise the limit on bodies to 1 MiB at least: express.json({limit}), client_max_body_size in nginx, and the "
    "like in each proxy in front.",
    takes=lambda context: 3 * context.alone,
)
async def large_body(context: CheckContext) -> str:
    replies = {size: await context.post(_sized(context, size)) for size in _LARGE}
    seen = ", ".join(f"{size // 1024} KiB: {said([reply])}" for size, reply in replies.items())
    bad = [size for size, reply in replies.items() if not context.fine(reply)]
    if bad == [max(_LARGE)] and not _crash(replies[max(_LARGE)]):
        raise Warned(seen)
    if bad:
        raise Failed(seen, *replies.values())
    return seen


@check(
    "Takes a compressed event, or says that it does not",
    likely="unlikely",
    glartek="does not say that it compresses; a proxy or a later version may. A crash is a failure, and a 200 for what "
    "cannot be read loses the event",
    mend="Unpack a body by its Content-Encoding, up to the limit on bodies; or answer 415 to it.",
)
async def compressed_body(context: CheckContext) -> str:
    plain = context.message()
    packed = Message(plain.type, gzip.compress(plain.body), plain.id, {**plain.headers, "content-encoding": "gzip"})
    reply = await context.post(packed)
    seen = f"gzip: {said([reply])}"
    if _crash(reply):
        raise Failed(seen, reply)
    if not context.fine(reply):
        raise Warned(seen)
    return f"{seen}{await kept(context, packed, seen)}"


@check(
    "Survives a huge body",
    likely="unlikely",
    glartek=_CRASH,
    mend="Limit the size (1 MiB is generous), answer 413 once it is exceeded, and keep the rest out of memory.",
)
async def huge_body(context: CheckContext) -> str:
    body = json.dumps(context.payload() | {"filler": "x" * context.limits.huge}).encode()
    return await _survives(context, body)


@check(
    "Answers others while a sender stalls in the middle of its body",
    likely="unlikely",
    glartek="times out after 10 s if one bad connection blocks all others, and sends everything again",
    mend="Use a server that does not spend a thread or a process on each slow connection, and a time limit for a body.",
    timed=True,
)
async def stalled_bodies(context: CheckContext) -> str:
    message = context.message()
    stalled: list[Connection] = []
    try:
        while len(stalled) < context.limits.several:
            stalled.append(await context.connect())
        for connection in stalled:
            with suppress(OSError):
                await connection.stall(context.headers(message), len(message.body), message.body[:10])
        reply = await context.post(context.message())
    except TimeoutError:
        raise Failed("while other connections are open and send nothing: cannot connect: timed out") from None
    finally:
        for connection in stalled:
            connection.close()
    if not context.fine(reply) or not context.quick(reply.seconds):
        raise Failed(f"with {len(stalled)} stalled connections: {said([reply])} after {reply.seconds:.2f} s")
    return f"with {len(stalled)} stalled connections: {said([reply])} within {reply.seconds * 1000:.0f} ms"


async def _accepts(context: CheckContext, what: str, payload: dict[str, object]) -> str:
    reply = await context.post(context.of(payload))
    if not context.fine(reply):
        raise Failed(f"{what}: {said([reply])}", reply)
    return f"{what}: {said([reply])}"


async def _survives(context: CheckContext, *bodies: bytes) -> str:
    """Check that each body gets an answer below 500, and that an ordinary event is accepted afterwards."""
    replies = await asyncio.gather(*map(context.post_bytes, bodies))
    crashed = [f"{_shown(body)}: {said([reply])}" for body, reply in zip(bodies, replies, strict=True) if _crash(reply)]
    if crashed:
        raise Failed("; ".join(crashed), *filter(_crash, replies))
    after = await context.post(context.message())
    if not context.fine(after):
        raise Failed(f"answered {said(replies)}, but an ordinary event right after: {said([after])}", after)
    return f"{said(replies)}; an ordinary event right after: {said([after])}"


def _sized(context: CheckContext, size: int) -> Message:
    payload = context.payload()
    room = size - len(context.of(payload | {"filler": ""}).body)
    return context.of(payload | {"filler": "x" * room})


def _crash(reply: Reply) -> bool:
    return reply.status is None or reply.status >= 500  # noqa: PLR2004 - 4xx is a refusal, 5xx an error


def _shown(body: bytes) -> str:
    return repr(body[:24])[1:] + (f"… ({len(body)} bytes)" if len(body) > 24 else "")  # noqa: PLR2004 - enough to recognise it
