"""Reads `payload.toml`, and says in one line which entry of which file is wrong and what was expected."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from receiver import events
from receiver.events.paths import DOTTED, Paths
from receiver.events.payload_map import FROM_TOP, Field, PayloadMap, Subject
from receiver.nearest import nearest

SHIPPED = Path(__file__).parent / "payload.toml"
_EVENT = ("id", "type", "time", "actor")
_MORE = ("time_zone", "batch")


class PayloadMapError(ValueError):
    """One line: the file, the entry, what was expected."""


@cache
def ours() -> PayloadMap:
    """The map of the kit's own schema."""
    shipped = tables(SHIPPED.read_text(encoding="utf-8"))
    subjects = {kind: shipped[kind] for kind in events.KINDS}
    event: dict[str, Any] = {name: Paths(shipped["event"][name]) for name in _EVENT}
    return PayloadMap(
        **event,
        subjects={
            kind: Subject(
                Paths(table["at"]),
                Paths(table["id"]),
                {name: Field(paths) for name, paths in table.items() if name not in {"at", "values"}},
            )
            for kind, table in subjects.items()
        },
    )


def read(file: Path) -> PayloadMap:
    """The map in a file; what it leaves out is the shipped one's. Raises `PayloadMapError`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise PayloadMapError(f"{file}: cannot be read: {reason}") from None
    return parse(text, str(file))


def parse(text: str, name: str) -> PayloadMap:
    """The map in the text of a file of this name. Raises `PayloadMapError`."""
    try:
        return _Reader(name).map(tables(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PayloadMapError(f"{name}: cannot be read: it is not TOML: {str(error).lower()}") from None


def tables(text: str) -> dict[str, Any]:
    """What the text of a file says itself. Raises `tomllib.TOMLDecodeError`."""
    return tomllib.loads(text)


def as_toml(event: Mapping[str, Sequence[str]], subjects: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """The file for paths that were found: those of [event], and those of each subject with its `at`."""
    lines = ["# Where the fields of the payloads are: the first path that leads to a value counts."]
    lines += ["[event]", *(entry(name, paths) for name, paths in event.items())]
    for kind, fields in subjects.items():
        lines += ["", f"[{kind}]", *(entry(name, paths) for name, paths in fields.items())]
    return "\n".join(lines) + "\n"


def entry(name: str, paths: Sequence[str]) -> str:
    """One line of the file. TOML's basic strings are JSON's, but for the one control character that JSON lets be."""
    return f"{name} = {json.dumps(list(paths), ensure_ascii=False)}".replace("\x7f", "\\u007f")


class _Reader:
    """What the entries of one file mean; each mistake names file and entry."""

    def __init__(self, file: str) -> None:
        self._file = file

    def map(self, tables: Mapping[str, Any]) -> PayloadMap:
        for name in tables:
            self._known(name, ("event", "types", *events.KINDS), "", "table")
        event = self._table(tables, "event", "event")
        for name in event:
            self._known(name, (*_EVENT, *_MORE), "event.", "entry")
        found: dict[str, Any] = {
            name: Paths(self._paths(f"event.{name}", event[name])) for name in _EVENT if name in event
        }
        if "time_zone" in event:
            found["zone"] = self._zone(event["time_zone"])
        if "batch" in event:
            found["batch"] = self._batch(event["batch"])
        subjects = {kind: self._subject(kind, self._table(tables, kind, kind)) for kind in events.KINDS}
        return replace(ours(), **found, types=self._types(self._table(tables, "types", "types")), subjects=subjects)

    def _subject(self, kind: str, table: Mapping[str, Any]) -> Subject:
        base = ours().subjects[kind]
        for name in table:
            self._known(name, ("at", "values", *base.fields), f"{kind}.", "field")
        values = self._table(table, "values", f"{kind}.values")
        for name, meanings in values.items():
            self._known(name, tuple(base.fields), f"{kind}.values.", "field")
            if not isinstance(meanings, dict) or not all(isinstance(word, str) for word in meanings.values()):
                self._refuse(f"{kind}.values.{name}", 'what each value means, such as { "3" = "High" }')
        fields = {
            name: Field(self._paths(f"{kind}.{name}", table[name]) if name in table else field.paths, values.get(name))
            for name, field in base.fields.items()
        }
        at = Paths(self._paths(f"{kind}.at", table["at"])) if "at" in table else base.at
        return Subject(at, Paths(fields["id"].paths), fields)

    def _types(self, types: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
        for name, words in types.items():
            self._known(name, tuple(events.BY_NAME), "types: ", "event type")
            if not _listed(words) or not all(isinstance(word, str) for word in _listed(words)):
                self._refuse(f"types.{name}", 'the sender\'s words for it, such as ["WO_DONE"]')
        meant: dict[str, str] = {}
        for name, word in ((name, word) for name, words in types.items() for word in _listed(words)):
            if meant.setdefault(events.normalised(word), name) != name:
                self._refuse(f"types.{name}", f"{word!r} for one type only; {meant[events.normalised(word)]} has it")
        return {name: tuple(_listed(words)) for name, words in types.items()}

    def _paths(self, key: str, value: Any) -> tuple[str, ...]:
        paths = _listed(value)
        if not paths or not all(isinstance(path, str) and path for path in paths):
            self._refuse(key, 'a dotted path, or a list of them, such as ["id", "meta.eventId"]')
        try:
            Paths(path.removeprefix(FROM_TOP) for path in paths)
        except ValueError as error:
            raise PayloadMapError(f"{self._file}: {key}: {error}") from None
        return tuple(paths)

    def _zone(self, value: Any) -> ZoneInfo:
        try:
            return ZoneInfo(value)
        except (ValueError, KeyError, TypeError, OSError):
            return self._refuse("event.time_zone", f'the name of a time zone, such as "Europe/Lisbon", got {value!r}')

    def _batch(self, value: Any) -> str:
        if isinstance(value, str) and (value == "@" or DOTTED.fullmatch(value)):
            return value
        return self._refuse("event.batch", f'the dotted path of a list, or "@" for the body itself, got {value!r}')

    def _table(self, tables: Mapping[str, Any], name: str, key: str) -> dict[str, Any]:
        table = tables.get(name, {})
        return table if isinstance(table, dict) else self._refuse(key, f"a table, [{key}]")

    def _known(self, name: str, possible: Sequence[str], prefix: str, what: str) -> None:
        if name not in possible:
            raise PayloadMapError(f"{self._file}: {prefix}{name}: no such {what}{nearest(name, possible)}")

    def _refuse(self, key: str, expected: str) -> NoReturn:
        raise PayloadMapError(f"{self._file}: {key}: expected {expected}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
