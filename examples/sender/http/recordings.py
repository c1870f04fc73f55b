"""Recorded requests on disk (`receiver.events.recordings`): two files for each, to read, to send again or to use as
samples.
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from examples.sender.http.arrivals import Arrival
from examples.sender.terminal import Refusal
from receiver.events import recordings
from receiver.events.recordings import Recorded, RecordingError

__all__ = ["Recorded", "Recording", "Redact", "read", "recorded"]

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 60


Redact = Callable[[Recorded], Recorded]


class Recording:
    """A folder for recorded requests; existing files stay, and numbering continues after them.

    `redact` changes each request before it is written. Raises `Refusal` if the folder cannot be created.
    """

    def __init__(self, folder: Path, redact: Redact | None = None) -> None:
        self.folder = folder
        self.redact = redact
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._last = max((int(file.name[:4]) for file in folder.glob("[0-9][0-9][0-9][0-9]*.head")), default=0)
        except OSError as error:
            raise Refusal(f"{folder}: cannot be written to: {error.strerror}") from None

    def save(self, arrival: Arrival) -> Path:
        """Write a request; returns the file of its body. Raises OSError."""
        request = recorded(arrival)
        kind = arrival.type  # before redaction, which may hide it
        request = self.redact(request) if self.redact else request
        self._last += 1
        name = f"{self._last:04}-{_NAME.sub('_', kind)[:_LONGEST_NAME].strip('_') or 'event'}"
        body = self.folder / f"{name}{'.json' if _is_json(request.body) else '.bin'}"
        _write(body, request.body)
        _write(self.folder / f"{name}.head", _head(request))  # last: it marks a completely written request
        return body


def recorded(arrival: Arrival) -> Recorded:
    """An arrival to write to disk; an abandoned one has no answer."""
    whole = arrival.answer is not None and arrival.answer.ending in {"whole", "close"} and not arrival.abandoned
    status = arrival.answer.status if arrival.answer and whole else None
    return Recorded(arrival.at, arrival.method, arrival.target, arrival.sent_headers, arrival.body, status)


def read(where: Path) -> list[Recorded]:
    """The requests in a folder, in order of arrival, or the one in a file. Raises `Refusal`."""
    try:
        return recordings.read(where)
    except RecordingError as error:
        raise Refusal(str(error)) from None


def _head(request: Recorded) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    lines += ["", f"# arrived {request.at.isoformat()}", f"# answered {request.answered or 'nothing'}", ""]
    return "\n".join(lines).encode("latin-1", "replace")


def _write(file: Path, content: bytes) -> None:
    """Write a file readable only by its owner, because payloads hold names and tokens."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
