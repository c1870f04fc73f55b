"""profile: a receiver with scripted answers, and a report of how your sender reacted."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from examples.sender import terminal
from examples.sender.commands import options
from examples.sender.commands.options import Certificate, Host, Html, Json, Key, Map, Port, Redact, Save
from examples.sender.http.recording import RecordingReceiver
from examples.sender.profile import reports
from examples.sender.profile.conclusions import Profile
from examples.sender.profile.conclusions import profile as concluded
from examples.sender.profile.proposal import Proposal, propose
from examples.sender.profile.script import Scene, Script, scenes
from examples.sender.profile.sightings import sightings
from examples.sender.terminal import Refusal
from receiver.nearest import nearest
from receiver.visible import visible

# With an encoded space, accent and slash, to find out whether the sender keeps them.
_PATH = "/webhooks/caf%C3%A9%20a%2Fb"


def profile(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    path: Annotated[str, typer.Option(help="Path of the endpoint, percent-encoded.")] = _PATH,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="ANSWER", help="Give only these answers.")] = None,
    tries: Annotated[int, typer.Option(min=1, help="Requests of an event that get its answer; then 200.")] = 3,
    late: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds of the late answer.")] = 11.0,
    idle: Annotated[
        float, typer.Option(min=0.1, help="End after all answers and so many seconds without a request.")
    ] = 60.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="End after so many seconds in any case.")] = 86400.0,
    save: Save = None,
    redact: Redact = False,
    payload_map: Map = None,
    write: Annotated[Path | None, typer.Option(help="Write payload.toml and proposed.env to this folder.")] = None,
    html: Html = None,
    json: Json = False,
) -> int:
    """Profile a sender: configure it with the printed URL, let it send events, stop with Ctrl-C."""
    played = _chosen(scenes(path, late), only)
    if not path.startswith("/"):
        raise Refusal(f"--path {path}: expected a path that begins with /")
    script = Script(played, tries)
    receiver = RecordingReceiver(
        script.answer,
        at_headers=script.at_headers,
        host=host,
        port=port,
        path=path,
        tls=options.tls(tls_cert, tls_key),
        where=options.where(payload_map),
        on_end=options.saving(save, options.where(payload_map), redact=redact),
    )
    options.writable(html)
    to_write = _new_files(write)
    asyncio.run(Watch(receiver, script, idle, seconds).run())
    found = concluded(receiver.arrivals, script.given, path, receiver.malformed, time.monotonic())
    proposal = propose(sightings(receiver.arrivals, by_sender=False))
    used = {
        "answers": [scene.name for scene in played],
        "tries": tries,
        "late": late,
        "path": terminal.without_secrets(path),
    }
    if json:
        terminal.as_json(reports.as_dict(found, proposal, used))
    elif found.requests or found.malformed:
        _print(found, proposal)
        terminal.settings(used)
    else:
        terminal.say("nothing arrived, so there is nothing to report")
    if found.events:
        for file, text in zip(to_write, (proposal.payload_toml, proposal.env() + "\n"), strict=False):
            options.write(file, text)
    if html:
        options.write(html, reports.html(found, proposal, used))
    return 0 if found.requests else 1


@dataclass
class Watch:
    """Listens until all answers were given and no request comes, until the time limit, or until stopped."""

    receiver: RecordingReceiver
    script: Script
    idle: float
    seconds: float

    async def run(self) -> None:
        """Serve and show what arrives; raises `Refusal` if the port is taken."""
        stop = asyncio.Event()
        try:
            async with self.receiver:
                terminal.complain(f"send events to {self.receiver.url} and stop with Ctrl-C")
                async with options.stopping(stop):
                    await self._watch(stop)
        except OSError as error:
            raise Refusal(f"cannot listen: {error.strerror}; choose another --host or --port") from None

    async def _watch(self, stop: asyncio.Event) -> None:
        end = time.monotonic() + self.seconds
        console = Console(stderr=True)
        with Live(console=console, auto_refresh=False) if console.is_terminal else contextlib.nullcontext() as live:
            while not stop.is_set() and time.monotonic() < end and not self._seen():
                if live:
                    live.update(self._table(), refresh=True)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), min(0.25, self.idle / 2, max(end - time.monotonic(), 0.01)))

    def _seen(self) -> bool:
        if self.script.left or self.receiver.open_requests:
            return False
        last = max(arrival.ended or arrival.began for arrival in self.receiver.arrivals)
        return time.monotonic() - last > self.idle

    def _table(self) -> Table:
        left = ", ".join(self.script.left) or f"nothing; ends after {self.idle:g} quiet seconds"
        caption = f"{len(self.receiver.arrivals)} requests; answers still to be given: {left}"
        shown = Table("EVENT", "ID", "ANSWERED", "WAITED FOR", caption=caption, caption_justify="left")
        for arrival in self.receiver.arrivals[-15:]:
            took = f"{(arrival.ended or time.monotonic()) - arrival.began:.1f} s"
            shown.add_row(arrival.type, arrival.id or "", self.script.given.get(arrival.number, "…"), took)
        return shown


def _new_files(folder: Path | None) -> list[Path]:
    """The files for a proposal; raises `Refusal` if one exists already or cannot be created."""
    files = [folder / name for name in ("payload.toml", "proposed.env")] if folder else []
    for file in files:
        if file.exists():
            raise Refusal(f"--write {folder}: {file.name} is there already; choose another folder")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refusal(f"--write {folder}: cannot be made: {error.strerror}") from None
    return files


def _chosen(known: dict[str, Scene], only: Sequence[str] | None) -> list[Scene]:
    for name in only or ():
        if name not in known:
            raise Refusal(f"there is no answer {name!r}{nearest(name, known)}")
    return [known[name] for name in (only or known)]


def _print(found: Profile, proposal: Proposal) -> None:
    for doubt in found.doubts:
        terminal.say(f"{visible(doubt, len(doubt))}\n")
    if not found.events:
        return
    terminal.table(reports.REACTIONS, reports.reactions(found))
    terminal.say("")
    terminal.table(("QUESTION", "SEEN"), reports.facts(found))
    terminal.say(f"\nsettings for the kit, in .env:\n\n{proposal.env()}\n")
    terminal.say(f"and where the fields are, as payload.toml:\n\n{proposal.payload_toml}")
    for reason in [*proposal.reasons, *reports.never(proposal), proposal.replayed]:
        if reason:
            terminal.say(f"- {visible(reason, len(reason))}")
