"""Limits on open connections, and on how long one may be idle.

Idle connections must not keep a good sender out. At the limit, a new connection is accepted if another one can be
closed: first those whose client is late (it has to send the rest of a head or to read an answer), the oldest first,
then those kept alive between two requests.
"""

import contextlib
import ipaddress
import itertools
import resource
import time
from collections.abc import Iterable
from typing import Protocol

import structlog

from receiver.background import tick

MOST_HELD = 16 * 1024 * 1024
"""Bytes that all connections may hold for requests not yet served: incomplete heads and pipelined requests."""
WARN_EVERY = 60.0
"""Seconds between two warnings that a limit was reached."""

RESERVED = 64
"""File descriptors reserved for Redis, the spool, the log and the event loop."""

log = structlog.get_logger()


def affordable(most: int) -> int:
    """`most`, or fewer if the system's limit on open files, raised as far as allowed, does not suffice.

    A quarter of the files stays free, because the closed connection's file is freed after the new one is accepted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems refuse their own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY or (possible := (soft - RESERVED) * 3 // 4) >= most:
        return most
    log.warning("MAX_CONNECTIONS is more than the system allows files (ulimit -n)", files=soft, connections=possible)
    return max(possible, 1)


class Connection(Protocol):
    """What `Connections` needs of a connection."""

    client: tuple[str, int] | None

    def expire(self) -> None:
        """Close the connection after its deadline; answer 408 if a head is incomplete."""

    def drop(self) -> None:
        """Close the connection now, to make room for another."""


class Connections:
    """The open connections of one process. Times in seconds; `per_address` 0 means no limit. Needs `run` to run.

    `owing` has the connections whose client is late, `idle` those between two requests, each with its start
    (`time.monotonic()`, the clock of the event loop too), the oldest first. All others are being served.
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
        """Count a new connection, and close another one at the limit. False if all others are being served."""
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
        """The client has to send the rest of a head, or to read its answers."""
        self.owing.setdefault(connection, time.monotonic())

    def owes_nothing(self, connection: Connection) -> None:
        """The head is complete or the answers were read: the connection is being served."""
        self.owing.pop(connection, None)

    def holds(self, connection: Connection, size: int) -> None:
        """Note that it holds `size` bytes for unserved requests. Over the limit, close those that hold the most."""
        self._held += size - self._holding.pop(connection, 0)
        if size:
            self._holding[connection] = size
        while self._held > MOST_HELD:
            self._make_room([max(self._holding, key=self._holding.__getitem__)])

    def forget(self, connection: Connection) -> None:
        """Stop counting a connection that is closed or being closed."""
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
        """Close connections that are idle for too long; checks four times a second."""
        while True:
            await tick(0.25)
            now = time.monotonic()
            for since, timeout in ((self.owing, self._head_timeout), (self.idle, self._keep_alive)):
                for connection in list(itertools.takewhile(lambda c: now - since[c] > timeout, since)):  # noqa: B023
                    connection.expire()

    def _resting(self, connections: Iterable[Connection]) -> Iterable[Connection]:
        return (connection for connection in connections if connection in self.owing or connection in self.idle)

    def _make_room(self, candidates: Iterable[Connection]) -> bool:
        """Close the first candidate; False if there is none."""
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
    """The client's IPv4 address, or the /64 network of its IPv6 address, because one host may use all of a /64."""
    host = connection.client[0] if connection.client else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    return str(address.ipv4_mapped or address.packed[:8])
