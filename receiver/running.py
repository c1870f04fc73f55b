"""What `make run` runs in this folder, so that every command finds it: the file `running.env` in its data.

It holds secrets, so only this user can read it; it is locked as long as `make run` is up, so that one left behind by a
kill is not believed.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_FILE = "running.env"


@contextmanager
def announced(data: Path, values: Mapping[str, str]) -> Iterator[None]:
    """Let commands find these settings for as long as the block runs. Raises OSError."""
    path = data / _FILE
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.writelines(f"{name}={_quoted(value)}\n" for name, value in values.items())
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def found(data: Path) -> Path | None:
    """The file of a `make run` that is up; None without one."""
    try:
        with (data / _FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return data / _FILE
    except OSError:
        return None
    return None


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
