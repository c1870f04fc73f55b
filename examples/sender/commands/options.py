"""The options that several commands share."""

import asyncio
import contextlib
import re
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.sender import payload_map, terminal
from examples.sender.http.arrivals import Arrival
from examples.sender.http.recordings import Recording
from examples.sender.http.redaction import Redaction
from examples.sender.http.signing import Signer
from examples.sender.payload_map import OURS, PayloadMap
from examples.sender.play import webhooks
from examples.sender.play.payloads import Samples
from examples.sender.terminal import Refusal

To = Annotated[str | None, typer.Option("--to", envvar="SENDER_TO", help="The endpoint's URL.", show_default=False)]
Duplicates = Annotated[int, typer.Option(min=0, max=1000, help="Send each delivery N further times, byte-identical.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field of each payload.")]
Remove = Annotated[list[str] | None, typer.Option("--remove", metavar="PATH", help="Remove a field from each payload.")]
Folder = Annotated[Path | None, typer.Option("--samples", help="A folder of real payloads, in place of the kit's.")]
Headers = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME: VALUE", help="A header of each request; again for more.")
]
Map = Annotated[
    Path | None,
    typer.Option(
        "--payload-map", envvar="PAYLOAD_MAP", help="payload.toml: where the payloads' fields are.", show_default=False
    ),
]
Curl = Annotated[bool, typer.Option("--curl", help="Print each request as a curl line, with the token; send nothing.")]
Secret = Annotated[
    str | None,
    typer.Option(envvar="SENDER_SECRET", help="Sign with this whsec_… secret (Standard Webhooks).", show_default=False),
]
Seed = Annotated[int | None, typer.Option(help="Repeat the same ids, times and bytes.")]
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OF_HTTP = {"content-length", "transfer-encoding", "host", "connection"}
STOPPED = 130
"""The exit code after Ctrl-C, as in shells."""
Json = Annotated[bool, typer.Option("--json", help="The report as JSON.")]
Save = Annotated[Path | None, typer.Option("--save", help="Write each request that arrives to this folder.")]
Redact = Annotated[bool, typer.Option("--redact", help="Replace people, e-mails, tokens and free text.")]
Certificate = Annotated[Path | None, typer.Option("--tls-cert", help="Certificate (PEM), to listen with TLS.")]
Key = Annotated[Path | None, typer.Option("--tls-key", help="Its private key.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for a sender elsewhere.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free port.")]
Effects = Annotated[
    str | None,
    typer.Option("--effects-cmd", help="Prints how often event {id} took effect, or a number for all {ids}."),
]
Ledger = Annotated[bool, typer.Option("--ledger", help="Effects are in this kit's own Redis, REDIS_URL.")]
EffectsWait = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for effects.")]
EffectsSettle = Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a second effect.")]
Junit = Annotated[Path | None, typer.Option("--junit", help="Write the report as JUnit XML to this file.")]
TimeOut = Annotated[float, typer.Option("--timeout", min=0.05, max=60, help="Seconds to wait; Glartek waits 10.")]
Html = Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page to this file.")]


def endpoint(to: str | None) -> str:
    """The URL to send to; raises `Refusal` if it is missing or not valid."""
    if not to:
        raise Refusal(
            "--to is missing: expected the endpoint's URL, such as --to http://127.0.0.1:8000/webhooks/glartek/TOKEN"
        )
    return webhooks.endpoint(to)


def samples(folder: Path | None, file: Path | None = None) -> Samples:
    """The payloads to send, with the paths of their fields. Raises `Refusal`."""
    return Samples.from_folder(folder, where(file)) if folder else Samples.ours(where(file))


def where(file: Path | None) -> PayloadMap:
    return payload_map.from_file(file) if file else OURS


def headers(lines: Sequence[str] | None) -> dict[str, str]:
    """Headers by lower-case name; raises `Refusal` for a line that is not a header."""
    found = {}
    for line in lines or ():
        name, colon, value = line.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name.strip()) or not value.isprintable():
            raise Refusal(f"--header {line!r}: expected NAME: VALUE, such as 'X-Environment: test'")
        if name.strip().lower() in _OF_HTTP:
            raise Refusal(f"--header {name.strip()}: this one is HTTP's own; it is made from the URL and the body")
        found[name.strip().lower()] = value.strip()
    return found


def saving(folder: Path | None, where: PayloadMap, *, redact: bool) -> Callable[[Arrival], None]:
    """A function that writes each complete request to the folder, if one is given. Raises `Refusal`."""
    if folder is None:
        if redact:
            raise Refusal("--redact is for what is written: expected --save FOLDER too")
        return lambda _: None
    recording = Recording(folder, Redaction(where) if redact else None)

    def save(arrival: Arrival) -> None:
        try:
            if arrival.complete:
                recording.save(arrival)
        except OSError as error:  # must not prevent the answer
            terminal.complain(f"--save {folder}: cannot be written: {error.strerror}")

    return save


def signer(secret: str | None) -> Signer | None:
    return Signer(secret) if secret else None


def until_stopped(work: Coroutine[Any, Any, object]) -> bool:
    """Run it to its end, or until Ctrl-C; returns whether it was stopped, so that the caller can still report."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        return True
    return False


@contextlib.asynccontextmanager
async def stopping(stop: asyncio.Event) -> AsyncIterator[None]:
    """Set `stop` at Ctrl-C and SIGTERM, so that a report can follow. Only the main thread can handle signals."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
        for number in numbers:
            loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The TLS context to listen with; raises `Refusal` if the files cannot be used."""
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise Refusal("expected both --tls-cert and --tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Refusal(f"--tls-cert {certificate}, --tls-key {key}: cannot be used: {error.strerror or error}") from None
    return context


def writable(*files: Path | None) -> None:
    """Raise `Refusal` now if a report could not be written at the end."""
    for file in filter(None, files):
        try:
            file.open("a").close()
        except OSError as error:
            raise Refusal(f"{file}: cannot be written: {error.strerror}") from None


def write(file: Path, text: str) -> None:
    """Write a report to a file; raises `Refusal` if it cannot be written."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{file}: cannot be written: {error.strerror}") from None
