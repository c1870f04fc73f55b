"""Attacks on a public port. Each runs until it is cancelled, and ignores connection errors.

`python -m tests.hostile.strangers NAME PORT PATH SECONDS` runs one of them in a separate process.
"""

import asyncio
import gzip
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

MEGABYTE = 1024 * 1024
WRONG = "/webhooks/glartek/a-guess-0123456789abcdefghijklmno"
Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: kit", *lines, "", ""]).encode()


async def _flood(port: int, connections: int, attack: Attack) -> None:
    """Keep `connections` open at a time; one that is closed is opened again."""

    async def again_and_again() -> None:
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    await attack(reader, writer)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(again_and_again())


async def _say(writer: asyncio.StreamWriter, *parts: bytes) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


async def says_nothing(port: int, _: str) -> None:
    """1 500 connections that send nothing."""
    await _flood(port, 1500, lambda reader, _: reader.read())  # type: ignore[arg-type, return-value]


async def half_a_head(port: int, path: str) -> None:
    """600 connections that send a head slowly, byte by byte."""

    async def attack(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in head(path, "x: " + "y" * 1000):
            await _say(writer, bytes([byte]))
            await asyncio.sleep(0.5)

    await _flood(port, 600, attack)


async def heads_without_end(port: int, path: str) -> None:
    """30 connections that send a header, a URL, a chunk's extension or a trailer of 60 MB."""
    kinds = iter([head(path, "x: ")[:-4], f"POST {path}".encode(), head(path, "transfer-encoding: chunked") + b"2;x=",
                  head(path, "transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\nx: "] * 10_000)  # fmt: skip

    async def attack(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, next(kinds), *[b"a" * MEGABYTE] * 60)

    await _flood(port, 30, attack)


async def nearly_whole_heads(port: int, path: str) -> None:
    """800 connections that send 30 KB of a head and wait."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, head(path, "x: " + "y" * 30_000)[:-2])
        await reader.read()

    await _flood(port, 800, attack)


async def large_bodies_for_a_guess(port: int, _: str) -> None:
    """50 connections that send a megabyte each to a guessed token."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, head(WRONG, f"content-length: {MEGABYTE}"), b"x" * MEGABYTE)
        await reader.read()

    await _flood(port, 50, attack)


async def announces_bodies(port: int, path: str) -> None:
    """With the token: 64 connections that announce a megabyte and send nothing."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, head(path, f"content-length: {MEGABYTE}"))
        await reader.read()

    await _flood(port, 64, attack)


async def bodies_without_length(port: int, path: str) -> None:
    """With the token: 200 small chunked bodies that never end."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, head(path, "transfer-encoding: chunked"), b"1\r\n{\r\n")
        await reader.read()

    await _flood(port, 200, attack)


async def nearly_whole_bodies(port: int, path: str) -> None:
    """With the token: 150 connections that send all but the last byte of a megabyte."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, head(path, f"content-length: {MEGABYTE}"), b"x" * (MEGABYTE - 1))
        await reader.read()

    await _flood(port, 150, attack)


async def never_reads(port: int, _: str) -> None:
    """20 connections that pipeline thousands of requests and read no answer."""

    async def attack(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        while True:
            await _say(writer, head("/healthz", method="GET") * 3000)

    await _flood(port, 20, attack)


async def guesses(port: int, _: str) -> None:
    """20 connections that try one token after the other."""

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, head(WRONG, "content-length: 0"))
        await reader.readuntil(b"\r\n\r\n")

    await _flood(port, 20, attack)


async def upgrades(port: int, path: str) -> None:
    """With the token: 10 connections, each request asks for an upgrade."""
    lines = ("connection: Upgrade", "upgrade: h2c", "content-length: 2")

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(100):
            await _say(writer, head(path, *lines) + b"{}")
            await reader.readuntil(b"\r\n\r\n")

    await _flood(port, 10, attack)


async def compressed_bombs(port: int, path: str) -> None:
    """With the token: 8 connections that send small gzips of large, nested JSON."""
    bombs = [
        gzip.compress(text) for text in (b"[" + b'{"a":[[]]},' * 90_000 + b"1]", b'{"id":"' + b"1" * 1_000_000 + b'"}')
    ]

    async def attack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for bomb in bombs:
            await _say(writer, head(path, "content-encoding: gzip", f"content-length: {len(bomb)}") + bomb)
            await reader.readuntil(b"\r\n\r\n")

    await _flood(port, 8, attack)


STRANGERS = {
    stranger.__name__: stranger
    for stranger in (
        says_nothing,
        half_a_head,
        heads_without_end,
        nearly_whole_heads,
        large_bodies_for_a_guess,
        guesses,
        never_reads,
        announces_bodies,
        bodies_without_length,
        nearly_whole_bodies,
        upgrades,
        compressed_bombs,
    )
}


async def main(name: str, port: int, path: str, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await STRANGERS[name](port, path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])))
