"""Where a server of the kit listens, and how this machine reaches it: IPv4, IPv6, or both; and until when it runs."""

import os
import signal
import socket
from collections.abc import Sequence

import uvicorn

from receiver.environment import SettingsError

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with


def listen(host: str, port: int, prefix: str = "") -> socket.socket:
    """The listening socket; `::` takes IPv4, too, where the system lets one socket do both.

    `prefix` begins the names of the two settings (`CONSOLE_`). Raises `SettingsError`.
    """
    is_ipv6 = ":" in host
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else "no such host"  # below 0: the look-up of a name
        raise SettingsError(
            f"{prefix}PORT: cannot listen on {address(host, port)} ({reason}); "
            f"stop what is using it, or set {prefix}HOST or {prefix}PORT"
        ) from None


def run(server: uvicorn.Server, sockets: Sequence[socket.socket]) -> None:
    """Answer until SIGINT or SIGTERM, and end in order, also if it comes before uvicorn has taken the signals over.

    An exit that a handler raised in the event loop until then would end the process by an error.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run(sockets=list(sockets))


def address(host: str, port: int | str) -> str:
    """`127.0.0.1:8000`, `[::1]:8000`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def base_url(host: str, port: int | str) -> str:
    """How this machine reaches what listens there."""
    return f"http://{address(_ANY.get(host, host), port)}"
