"""How many connections may be open, and how long one may do nothing.

A bound must not turn a good sender away for the sake of connections that do nothing. So a new connection is taken as
long as there is another to close in its place: first those that owe something (the rest of a head, the reading of an
answer), the oldest first, then those kept alive between two requests.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import resource
import time
from collections.abc import Iterable
from typing import Protocol

import structlog

MOST_HELD = 16 * 1024 * 1024
"""Bytes that all connections may hold for requests that are not being served yet: half heads, pipelined requests."""
WARN_EVERY = 60.0
"""Seconds between two warnings that a bound was reached."""

RESERVED = 64
"""Descriptors for everything that is not a connection of a sender: Redis, the spool, the log, the event loop."""

log = structlog.get_logger()


def affordable(most: int) -> int:
    """`most` connections, or as many as this process may have open files for, once its limit is raised.

    A quarter of the files stays free: closing the oldest connection takes effect a moment after the new one is taken.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems refuse a hard limit that they name themselves
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY or (possible := (soft - RESERVED) * 3 // 4) >= most:
        return most
    log.warning("MAX_CONNECTIONS is more than the system allows files (ulimit -n)", files=soft, connections=possible)
    return max(possible, 1)


class Connection(Protocol):
    """What is asked of a connection."""

    client: tuple[str, int] | None

    def expire(self) -> None:
        """Its time is up: close it, with an answer where one is due."""

    def drop(self) -> None:
        """Close it now: its place is needed."""


class Connections:
    """The open connections of one process. Times in seconds; a `per_address` of 0 is no bound.

    `run` has to be running. A connection that is neither in `owing` nor in `idle` is being served; both hold the time
    (`time.monotonic()`, as the event loop's) since which a connection is there, the longest first.
    """

    def __init__(
        self, *, most: int, per_address: int, max_head_bytes: int, head_timeout: float, keep_alive: float
    ) -> None:
        self._most, self._per_address = most, per_address
        self._head_timeout, self._keep_alive = head_timeout, keep_alive
        self.max_head_bytes = max_head_bytes
        self.owing: dict[Connection, float] = {}
        self.idle: dict[Connection, float] = {}
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._count = 0
        self._holding: dict[Connection, int] = {}
        self._held = 0
        self._refused, self._warned = 0, float("-inf")

    def admit(self, connection: Connection) -> bool:
        """Count a new connection, in place of another where there are too many; False when all are being served."""
        address = _address(connection)
        same = self._by_address.get(address, {})
        if self._per_address and len(same) >= self._per_address and not self._make_room(self._resting(same)):
            return False
        if self._count >= self._most and not self._make_room(itertools.chain(self.owing, self.idle)):
            return False
        self._by_address.setdefault(address, {})[connection] = None
        self._count += 1
        self.owes(connection)
        return True

    def owes(self, connection: Connection) -> None:
        """It has to send the rest of its head, or to read its answers."""
        self.owing.setdefault(connection, time.monotonic())

    def owes_nothing(self, connection: Connection) -> None:
        """It has done what it owed: it is being served."""
        self.owing.pop(connection, None)

    def holds(self, connection: Connection, size: int) -> None:
        """It takes `size` bytes of memory before it is served. Where that is too much, those that hold most go."""
        self._held += size - self._holding.pop(connection, 0)
        if size:
            self._holding[connection] = size
        while self._held > MOST_HELD:
            self._make_room([max(self._holding, key=self._holding.__getitem__)])

    def forget(self, connection: Connection) -> None:
        """It is closed, or being closed."""
        address = _address(connection)
        same = self._by_address.get(address, {})
        if connection in same:
            del same[connection]
            self._count -= 1
            if not same:
                del self._by_address[address]
        self.owing.pop(connection, None)
        self.idle.pop(connection, None)
        self._held -= self._holding.pop(connection, 0)

    async def run(self) -> None:
        """Close what did nothing for too long; looks four times a second."""
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            for since, timeout in ((self.owing, self._head_timeout), (self.idle, self._keep_alive)):
                for connection in list(itertools.takewhile(lambda c: now - since[c] > timeout, since)):  # noqa: B023
                    connection.expire()

    def _resting(self, connections: Iterable[Connection]) -> Iterable[Connection]:
        return (connection for connection in connections if connection in self.owing or connection in self.idle)

    def _make_room(self, candidates: Iterable[Connection]) -> bool:
        """Close the first of the candidates; False when there is none."""
        victim = next(iter(candidates), None)
        if victim is not None:
            self.forget(victim)
            victim.drop()
        self._warn()
        return victim is not None

    def _warn(self) -> None:
        self._refused += 1
        if time.monotonic() - self._warned > WARN_EVERY:
            self._warned = time.monotonic()
            log.warning("too many connections: the longest idle are closed", open=self._count, closed=self._refused)
            self._refused = 0


def _address(connection: Connection) -> str:
    """Whom it counts for: an IPv4 address, or the /64 network of an IPv6 address, all of which one host may use."""
    host = connection.client[0] if connection.client else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or address.packed[:8])
