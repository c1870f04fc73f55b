"""What is sent: an event of a type, made from its sample with fresh, consistent ids, and its bytes on the wire.

The samples are the kit's own invention: Glartek does not document its payloads. A folder of a customer's real ones
takes their place with `Samples.from_folder`.
"""

import copy
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from examples.sender.http.message import Message
from examples.sender.terminal import Refusal
from receiver import events

INVENTED = "These samples are this kit's own invention: Glartek does not document its payloads."
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONG = 6


class Samples:
    """A payload for each type: the kit's own samples, or a customer's real ones."""

    def __init__(self, payloads: Mapping[str, dict[str, Any]]) -> None:
        self.payloads = payloads

    @classmethod
    def ours(cls) -> "Samples":
        return cls({event_type.name: event_type.sample() for event_type in events.CATALOG})

    @classmethod
    def from_folder(cls, folder: Path) -> "Samples":
        """One JSON object per `*.json` file; its type is what the payload says, or else the file's name."""
        files = sorted(folder.glob("*.json"))
        if not files:
            raise Refusal(f"{folder}: expected a folder with *.json files, one payload in each")
        return cls(dict(map(_read, files)))

    def named(self, words: str) -> str:
        """The type that these words mean: its name or Glartek's title, in any case and punctuation."""
        name = events.canonical(words)
        if name in self.payloads:
            return name
        near = difflib.get_close_matches(name.casefold(), self.payloads, n=3, cutoff=0.4) or list(self.payloads)
        raise Refusal(
            f"there is no event type {words!r}; did you mean {' or '.join(near)}? "
            "Any other type goes out with: send action.created --set type=YOUR.TYPE"
        )


class Story:
    """Events that tell of the same Work Order and Action: each has an id of its own, they share all the others.

    With the same `rng` state and `now` the payloads are the same, byte for byte. `now` moves the sample's times so
    that the event happened then; None leaves them as they are.
    """

    def __init__(self, rng: Random, samples: Samples | None = None) -> None:
        self.rng = rng
        self.samples = samples or Samples.ours()
        self._renamed: dict[str, str] = {}

    def event(self, event_type: str, now: datetime | None = None) -> dict[str, Any]:
        """The payload of a type, as `Samples.named` understands it; raises `Refusal` for an unknown one."""
        sample = copy.deepcopy(self.samples.payloads[self.samples.named(event_type)])
        renamed = {old: self._renamed.setdefault(old, like(old, self.rng)) for old in _subject_ids(sample)}
        occurred_at = _time(events.first_text(sample, events.OCCURRED_AT_PATHS))
        later = now - occurred_at if now and occurred_at else timedelta()
        payload: dict[str, Any] = _retold(sample, renamed, later)
        _renew_id(payload, self.rng)
        return payload


def fresh(event_type: str, rng: Random, now: datetime | None = None) -> Message:
    """An event of this type about a Work Order or an Action of its own."""
    return Message.of(Story(rng).event(event_type, now))


def randomness(seed: int | None) -> tuple[Random, datetime | None]:
    """The source of ids and the time of events: a seed repeats both, so its times stay the sample's own."""
    return (Random(seed), None) if seed is not None else (Random(), datetime.now(UTC))


def like(value: str, rng: Random) -> str:
    """Another id that looks like this one: `wo_5d2c81` becomes `wo_` and six other hexadecimal digits."""
    kept = 0 if _UUID.fullmatch(value) else max(value.rfind(mark) for mark in "_-:/.") + 1
    alphabet = "0123456789abcdef" if not value[kept:].isdecimal() else "0123456789"
    if value[kept:].isupper():
        alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    return value[:kept] + "".join(rng.choice(alphabet) if letter.isalnum() else letter for letter in value[kept:])


def _subject_ids(sample: dict[str, Any]) -> Iterable[str]:
    for kind in events.SUBJECT_FIELDS:
        subject = events.subject_fields(sample, kind) or {}
        for part in (subject, subject.get("work_order")):
            if isinstance(part, dict):
                yield from (part[name] for name in ("id", "code") if isinstance(part.get(name), str))


def _renew_id(payload: dict[str, Any], rng: Random) -> None:
    for path in events.EVENT_ID_PATHS:
        *steps, last = path.split(".")
        holder = events.at_path(payload, ".".join(steps)) if steps else payload
        value = holder.get(last) if isinstance(holder, dict) else None
        if isinstance(value, str) and value:
            holder[last] = like(value, rng)
            return
        if isinstance(value, int) and not isinstance(value, bool):
            holder[last] = rng.randrange(1, 10 ** max(len(str(value)), 9))
            return


def _retold(value: Any, renamed: Mapping[str, str], later: timedelta) -> Any:
    if isinstance(value, dict):
        return {name: _retold(part, renamed, later) for name, part in value.items()}
    if isinstance(value, list):
        return [_retold(part, renamed, later) for part in value]
    if not isinstance(value, str):
        return value
    if _TIME.fullmatch(value):
        return (datetime.fromisoformat(value) + later).isoformat(timespec="seconds") if later else value
    for old, new in renamed.items():  # a long id is also renamed inside a URL; a short one would hit other text
        value = value.replace(old, new) if len(old) >= _LONG else (new if value == old else value)
    return value


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        payload = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refusal(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Refusal(f"{file}: expected one JSON object: {error}") from None
    if not isinstance(payload, dict):
        raise Refusal(f"{file}: expected one JSON object, not a {type(payload).__name__}")
    payload.pop("$comment", None)
    return events.canonical(events.first_text(payload, events.EVENT_TYPE_PATHS) or file.stem), payload
