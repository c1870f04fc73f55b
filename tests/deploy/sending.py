"""A sender that never rests."""

import threading
from collections.abc import Callable
from typing import Self

from tests.conftest import wait_until
from tests.receiver.conftest import Answer, event


class Sending:
    """Events one after the other, as fast as they are answered, each until it is answered 200, while the block runs."""

    def __init__(self, post: Callable[[bytes], Answer]) -> None:
        self._post, self._stop = post, threading.Event()
        self.acknowledged: list[str] = []
        self._thread = threading.Thread(target=self._send)

    def _send(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                status = self._post(event(f"evt_{number}")).status
            except (OSError, AssertionError):  # refused, or closed without an answer
                continue
            if status == 200:
                self.acknowledged.append(f"evt_{number}")
                number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def more(self, count: int) -> None:
        """Return when so many more are acknowledged."""
        enough = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= enough)
