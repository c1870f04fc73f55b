"""Recorded requests on disk, as the sender's `listen --save` writes them: two files for each. A sample is a body alone.

0007-action.created.json    the body, byte for byte (.bin if it is not JSON)
0007-action.created.head    the request line and the headers as received, then time and answer
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/\d\.\d")
_BODIES = (".json", ".bin")


class RecordingError(ValueError):
    """One line: the file, what is wrong with it, what was expected."""


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

    def header(self, name: str) -> str | None:
        """The first header with this name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def by_name(self) -> dict[str, str]:
        """The headers by lower-case name."""
        return {name.lower(): value for name, value in self.headers}


def read(where: Path) -> list[Recorded]:
    """The requests in a folder, in order of arrival, or the one in a file. Raises `RecordingError`."""
    heads = [where.with_suffix(".head")] if where.is_file() else sorted(where.glob("*.head"))
    if not heads or not all(head.exists() for head in heads):
        raise RecordingError(f"{where}: expected a recording, as `listen --save` writes it: a *.head beside each body")
    return sorted(map(_read, heads), key=lambda request: request.at)


def samples(where: Path) -> list[Recorded]:
    """The bodies of a folder by name, or of one file, each with its head where it has one. Raises `RecordingError`."""
    files = [where] if not where.is_dir() else sorted(file for file in where.iterdir() if file.suffix in _BODIES)
    if not files:
        raise RecordingError(f"{where}: expected a folder with *.json files, one payload in each")
    return [_sample(file) for file in files]


def _sample(file: Path) -> Recorded:
    head = file.with_suffix(".head")
    if file.suffix in _BODIES and head.exists():
        return _read(head)
    return Recorded(datetime.now(UTC), "POST", "/", (), _bytes(file), None, file.stem)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RecordingError(f"{file}: cannot be read: {error.strerror}; expected a readable file") from None


def _read(head: Path) -> Recorded:
    first, *lines = _bytes(head).decode("latin-1").split("\n")
    body = next((file for suffix in _BODIES if (file := head.with_suffix(suffix)).exists()), None)
    if body is None:
        raise RecordingError(f"{head}: the body is missing beside it, {head.stem}.json or {head.stem}.bin")
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# ") and line.count(" ") > 1)
    request = _REQUEST_LINE.fullmatch(first)
    try:
        at = datetime.fromisoformat(told.get("arrived", ""))
    except ValueError:
        request = None
    if not request:
        raise RecordingError(f"{head}: expected a request line, headers, and a line `# arrived TIME`")
    headers = tuple(
        (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[: lines.index("")])
    )
    status = int(told["answered"]) if told.get("answered", "").isdecimal() else None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Recorded(at, request[1], request[2], headers, _bytes(body), status, head.stem)
