"""Recorded requests on disk: two files for each, to read, to send again or to use as samples.

0007-action.created.json    the body, byte for byte (.bin if it is not JSON)
0007-action.created.head    the request line and the headers as received, then time and answer
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from examples.sender.http.arrivals import Arrival
from examples.sender.terminal import Refusal

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 60
_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/\d\.\d")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as received `at` a time; `answered` is the status, or None."""

    at: datetime
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    answered: int | None = None
    name: str = ""
    """The name of its files, without suffix."""

    @classmethod
    def of(cls, arrival: Arrival) -> "Recorded":
        """An arrival to write to disk; an abandoned one has no answer."""
        whole = arrival.answer is not None and arrival.answer.ending in {"whole", "close"} and not arrival.abandoned
        status = arrival.answer.status if arrival.answer and whole else None
        return cls(arrival.at, arrival.method, arrival.target, arrival.sent_headers, arrival.body, status)

    def header(self, name: str) -> str | None:
        """The first header with this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


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
        request = Recorded.of(arrival)
        kind = arrival.type  # before redaction, which may hide it
        request = self.redact(request) if self.redact else request
        self._last += 1
        name = f"{self._last:04}-{_NAME.sub('_', kind)[:_LONGEST_NAME].strip('_') or 'event'}"
        body = self.folder / f"{name}{'.json' if _is_json(request.body) else '.bin'}"
        _write(body, request.body)
        _write(self.folder / f"{name}.head", _head(request))  # last: it marks a completely written request
        return body


def read(where: Path) -> list[Recorded]:
    """The requests in a folder, in order of arrival, or the one in a file. Raises `Refusal`."""
    heads = [where.with_suffix(".head")] if where.is_file() else sorted(where.glob("*.head"))
    if not heads or not all(head.exists() for head in heads):
        raise Refusal(f"{where}: expected a recording, as `listen --save` writes it: a *.head beside each body")
    return sorted(map(_read, heads), key=lambda request: request.at)


def _head(request: Recorded) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers)]
    lines += ["", f"# arrived {request.at.isoformat()}", f"# answered {request.answered or 'nothing'}", ""]
    return "\n".join(lines).encode("latin-1", "replace")


def _read(head: Path) -> Recorded:
    try:
        first, *lines = head.read_bytes().decode("latin-1").split("\n")
        body = next(
            file for file in (head.with_suffix(".json"), head.with_suffix(".bin")) if file.exists()
        ).read_bytes()
    except OSError as error:
        raise Refusal(f"{head}: cannot be read: {error.strerror}") from None
    except StopIteration:
        raise Refusal(f"{head}: the body is missing beside it, {head.stem}.json or {head.stem}.bin") from None
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# ") and line.count(" ") > 1)
    request = _REQUEST_LINE.fullmatch(first)
    try:
        at = datetime.fromisoformat(told.get("arrived", ""))
    except ValueError:
        request = None
    if not request:
        raise Refusal(f"{head}: expected a request line, headers, and a line `# arrived TIME`")
    headers = tuple(
        (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[: lines.index("")])
    )
    status = int(told["answered"]) if told.get("answered", "").isdecimal() else None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Recorded(at, request[1], request[2], headers, body, status, head.stem)


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
