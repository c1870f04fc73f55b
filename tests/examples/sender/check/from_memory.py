"""A receiver that answers from memory and does its work in the background: run as a process with PORT and FOLDER."""

import asyncio
import gzip
import json
import sys
from pathlib import Path

LATER = 0.5  # seconds after the answer


async def serve(port: int, folder: Path) -> None:
    """Write a line into a file named for the event, each event once, some time after it was answered."""
    seen: set[str] = set()

    def work(event_id: str) -> None:
        with (folder / event_id).open("a") as file:
            file.write("effect\n")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        if "expect: 100" in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(length)
        if "chunked" in head:
            await reader.readuntil(b"\r\n0\r\n\r\n")
        body = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        try:
            event_id = json.loads(body).get("id")
        except (ValueError, AttributeError, RecursionError):
            event_id = None
        if isinstance(event_id, str) and event_id not in seen:
            seen.add(event_id)
            asyncio.get_running_loop().call_later(LATER, work, event_id)
        right = " /webhooks/t0kenthatislongenough4tests " in head
        status = b"200 OK" if right else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=2**22)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
