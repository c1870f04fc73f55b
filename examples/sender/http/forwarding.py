"""Which headers are sent when a request is forwarded."""

from collections.abc import Mapping, Sequence

# Hop-by-hop headers (RFC 9110, 7.6.1), and those made new for the target and the connection.
_OF_THE_CONNECTION = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
    "expect", "host", "content-length",
})  # fmt: skip


def sent_on(headers: Sequence[tuple[str, str]], extra: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers in order, without those of the connection; `extra` replaces headers of the same name."""
    kept = [(name, value) for name, value in headers if name.lower() not in {*_OF_THE_CONNECTION, *extra}]
    return [*kept, *extra.items()]
