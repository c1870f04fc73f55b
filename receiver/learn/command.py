"""`python -m receiver learn FOLDER`: write payload.toml from real payloads, and redacted samples to keep."""

import asyncio
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import structlog
import typer

from receiver import content
from receiver.command import AsJson
from receiver.environment import SettingsError, load
from receiver.events import payload_file, recordings
from receiver.events.candidates import Candidate
from receiver.events.payload_file import PayloadMapError, ours
from receiver.events.payload_map import PayloadMap
from receiver.events.recordings import RecordingError
from receiver.events.redaction import Redaction
from receiver.learn import kept, learn, writing
from receiver.learn.learned import Learned
from receiver.payload_settings import PayloadMapSettings, PayloadSettings
from receiver.visible import to_json, visible, visible_lines

EACH = 3
"""Redacted samples of one type."""
DEFAULT = Path("payload.toml")


def learn_from(
    folder: Annotated[Path | None, typer.Argument(help="A folder of payloads, or a file.", show_default=False)] = None,
    *,
    from_kept: Annotated[bool, typer.Option("--kept", help="Learn from what the kit still has in Redis.")] = False,
    last: Annotated[int, typer.Option(min=1, max=10_000, help="How many of those, of each sort.")] = 200,
    to: Annotated[Path | None, typer.Option(help="The file to write; PAYLOAD_MAP, or payload.toml.")] = None,
    redacted: Annotated[
        Path | None, typer.Option(help="A folder for samples with stand-ins; `redacted` beside it.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="The zone of times without an offset.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write over a file that is there without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find where the fields of your payloads are, and write payload.toml and redacted samples.

    Asks where it cannot tell. Exit code 1 when a question is left, which the file then holds as a comment.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is the report's
    config = load(PayloadSettings, payload_map=None)
    file = to or load(PayloadMapSettings).payload_map or DEFAULT
    before_text, tables = _before(file)
    before = payload_file.parse(before_text, str(file)) if before_text else ours()
    zone = _zone(time_zone)
    bodies = _bodies(config, folder, last if from_kept else 0)
    ask = _ask if sys.stdin.isatty() and not as_json else _leave
    learned = learn(bodies, before, {name: set(table) for name, table in tables.items()}, ask)
    if zone:
        learned.without_offset = ""
    text = writing.as_toml(learned, tables, zone)
    where = payload_file.parse(text, str(file))
    changes = _diff(before_text, text, file) if before_text else text
    _confirm(file, changes, exists=bool(before_text), yes=yes, as_json=as_json)
    _write(file, text)
    folder_of_samples = redacted or file.parent / "redacted"
    samples = _write_samples(folder_of_samples, learned, where)
    _report(learned, where, file, changes, samples, as_json=as_json)
    _tell_older(folder_of_samples, samples)
    if learned.questions:
        raise typer.Exit(1)


def _bodies(config: PayloadSettings, folder: Path | None, last: int) -> list[Any]:
    """The parsed bodies to learn from, each once. Raises `SettingsError` where there is none."""
    if (folder is None) == (last == 0):
        raise SettingsError("expected a folder of payloads, or --kept")
    try:
        if folder is None:
            raw = [(one.headers, one.body) for one in asyncio.run(kept.deliveries(last))]
        else:
            raw = [(one.by_name, one.body) for one in recordings.samples(folder)]
    except RecordingError as error:
        raise SettingsError(str(error)) from None
    found = {}
    for headers, body in raw:
        try:
            payload, text = content.read_any(headers, body, config.max_body_bytes)
        except content.Unreadable:
            continue
        found[text] = payload
    if not any(isinstance(payload, dict | list) and payload for payload in found.values()):
        raise SettingsError(f"{folder or '--kept'}: expected payloads, and there is none that is JSON")
    return list(found.values())


def _before(file: Path) -> tuple[str, dict[str, Any]]:
    """The file that is there, and its tables; nothing where there is none."""
    if not file.exists():
        return "", {}
    try:
        payload_file.read(file)  # a mistake in it is one line
        text = file.read_text(encoding="utf-8")
    except PayloadMapError as error:
        raise SettingsError(str(error)) from None
    return text, payload_file.tables(text)


def _zone(name: str | None) -> str | None:
    try:
        return ZoneInfo(name).key if name else None
    except (ValueError, KeyError, OSError):
        raise SettingsError(f"--time-zone: expected an IANA name such as Europe/Lisbon, got {name!r}") from None


def _leave(_question: str, _candidates: Sequence[Candidate]) -> None:
    """Without a terminal nobody can be asked."""


def _ask(question: str, candidates: Sequence[Candidate]) -> Candidate | None:
    typer.echo(f"{question}: which is it?", err=True)
    for number, one in enumerate(candidates, 1):
        typer.echo(f"  {number}  {visible(one.path)}  ({one.confidence:.2f}: {visible(one.reason)})", err=True)
    chosen: int = typer.prompt("number, or 0 for none of them", type=int, default=0, err=True)
    return candidates[chosen - 1] if 1 <= chosen <= len(candidates) else None


def _diff(before: str, after: str, file: Path) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), f"{file} as it was", str(file), lineterm="")
    return "\n".join(lines)


def _confirm(file: Path, diff: str, *, exists: bool, yes: bool, as_json: bool) -> None:
    """Ask before a file is written over."""
    if not exists or yes or not diff:
        return
    if as_json or not sys.stdin.isatty():
        typer.echo(visible_lines(diff), err=True)
        raise SettingsError(f"{file}: is there and would change as above; --yes writes it")
    typer.echo(visible_lines(diff), err=True)
    typer.confirm(f"write {file}?", abort=True, err=True)


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: cannot be written: {error.strerror}") from None


def _write_samples(folder: Path, learned: Learned, where: PayloadMap) -> list[str]:
    """A few events of each type with stand-ins for people, e-mails, tokens and free text, to be committed and sent."""
    redact, written = Redaction(where), dict[str, int]()
    names: list[str] = []
    for payload in learned.events:
        name = _file_name(where.type_of(payload))
        written[name] = written.get(name, 0) + 1
        if written[name] <= EACH:
            file = folder / f"{len(names) + 1:04}-{name}.json"
            _write(file, to_json(redact.value(payload, "")) + "\n")
            names.append(str(file))
    return names


def _tell_older(folder: Path, samples: Sequence[str]) -> None:
    """What lies beside the samples may be of a run with another map, which redacted less. It may also be the user's."""
    older = sorted(file.name for file in folder.glob("*.json") if str(file) not in samples)
    if older:
        are = "file is" if len(older) == 1 else "files are"
        names = ", ".join(map(visible, older[:3])) + (", …" if len(older) > 3 else "")  # noqa: PLR2004 - a few
        typer.echo(f"{folder}: {len(older)} {are} not of this run, look before you commit: {names}", err=True)


def _file_name(event_type: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in event_type)[:60] or "event"


def _report(
    learned: Learned, where: PayloadMap, file: Path, changes: str, samples: Sequence[str], *, as_json: bool
) -> None:
    if as_json:
        entries = [
            {"table": one.table, "name": one.name, "paths": list(one.chosen), "confidence": one.confidence,
             "reason": one.reason, "candidates": [candidate._asdict() for candidate in one.candidates]}
            for one in learned.entries
        ]  # fmt: skip
        events = {"events": len(learned.events), "left_out": learned.left_out}
        report = {"file": str(file), **events, "entries": entries}
        typer.echo(to_json(report | {"questions": learned.questions, "samples": list(samples), "changes": changes}))
        return
    typer.echo(visible_lines(changes))
    types = sorted({where.type_of(payload) or "(no type)" for payload in learned.events})
    typer.echo(f"wrote {file} from {len(learned.events)} events: {visible(', '.join(types))}")
    if learned.left_out:
        typer.echo(f"left out {learned.left_out} that {'name' if learned.left_out > 1 else 'names'} no type")
    if samples:
        typer.echo(f"wrote {len(samples)} redacted samples to {Path(samples[0]).parent}")
    for question in learned.questions:
        typer.echo(visible(f"open: {question}"), err=True)
