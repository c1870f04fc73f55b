"""A request as a curl line, to be pasted into a shell."""

import base64
import shlex

from examples.sender.http.message import Message

_LONGEST = 100_000  # bytes of an argument: Linux takes 128 KiB


def line(url: str, message: Message) -> str:
    """The same POST; a body that no argument or terminal can take goes through a pipe. It shows the URL's token."""
    headers = dict(message.headers)
    headers.setdefault("content-type", "")  # curl would name one of its own
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
    return len(body) <= _LONGEST and text.replace("\n", "").isprintable()  # for it is printed
