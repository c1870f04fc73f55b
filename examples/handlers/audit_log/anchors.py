"""Anchors: copies of the log's head outside of the database, so that changes in the database can be detected.

They go to the process's log, and to a file and a URL if set. `verify --anchors` reads all of these.
"""

import contextvars
import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import structlog
from sqlalchemy.engine import Engine

from examples.handlers.audit_log import database
from examples.handlers.audit_log.record import Head, stamp

log = structlog.get_logger()


class NotAnchored(Exception):
    """The head could not be sent; the message has only the host of the URL."""


class Anchors:
    """Sends the head at start, and then every `every` seconds if it has changed, in a separate thread."""

    def __init__(self, engine: Engine, every: float, path: Path | None = None, url: str | None = None) -> None:
        self._engine, self._every, self._path, self._url = engine, every, path, url
        self._sent = Head()
        self._stopped = threading.Event()
        run = contextvars.copy_context().run  # keeps the context of the process's log lines
        self._thread = threading.Thread(target=run, args=(self._run,), name="audit-anchors", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.send()
            if self._stopped.wait(self._every):
                return

    def send(self) -> None:
        """Send the head, unless it was sent before; after a failure, try again next time."""
        try:
            head = database.head(self._engine)
            if head == self._sent:
                return
            if self._sent.seq and not database.holds(self._engine, self._sent):
                log.error("audit log: an anchored row is gone or changed; run verify", anchor=str(self._sent))
            log.info("audit log: head", head=str(head))
            self._send(head)
        except Exception as error:  # noqa: BLE001 - no failure may end the schedule
            log.warning("audit log: the head was not anchored", reason=database.cause(error), again_in_s=self._every)
        else:
            self._sent = head

    def _send(self, head: Head) -> None:
        anchor = {"time": stamp(datetime.now(UTC)), "head": str(head)}
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(anchor) + "\n")
        if self._url is not None:
            host = urlsplit(self._url).hostname
            try:
                status = httpx2.post(self._url, json=anchor, timeout=10).status_code
            except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
                raise NotAnchored(f"{host}: {type(error).__name__}") from None
            if not httpx2.codes.is_success(status):
                raise NotAnchored(f"{host} answered {status}")
