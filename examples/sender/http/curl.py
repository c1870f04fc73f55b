"""A request as a curl command to paste into a shell."""

import base64
import shlex

from examples.sender.http.message import Message

_LONGEST = 100_000  # bytes of an argument: Linux takes 128 KiB


def line(url: str, message: Message) -> str:
    """The same POST; a body that does not fit into an argument goes through a pipe. Contains the URL's token."""
    headers = dict(message.headers)
    headers.setdefault("content-type", "")  # otherwise curl adds its default
    words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}" if value else f"{name}:")]
    curl = f"curl -sS -i -X POST {shlex.join([url, *words])}"
    if _is_text(message.body):
        return f"{curl} --data-raw {shlex.quote(message.body.decode())}"
    return f"printf %s {base64.b64encode(message.body).decode()} | base64 -d | {curl} --data-binary @-"


def _is_text(body: bytes) -> bool:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    return len(body) <= _LONGEST and text.replace("\n", "").isprintable()  # it is shown on a terminal
