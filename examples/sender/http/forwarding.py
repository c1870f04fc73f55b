"""Which headers of a request go on with it to another place."""

from collections.abc import Mapping, Sequence

# RFC 9110, 7.6.1, and what is said anew for the new place and the new connection.
_OF_THE_CONNECTION = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
    "expect", "host", "content-length",
})  # fmt: skip


def sent_on(headers: Sequence[tuple[str, str]], extra: Mapping[str, str]) -> list[tuple[str, str]]:
    """All but those of the connection, in their order; `extra` ones take the place of those of the same name."""
    kept = [(name, value) for name, value in headers if name.lower() not in {*_OF_THE_CONNECTION, *extra}]
    return [*kept, *extra.items()]
