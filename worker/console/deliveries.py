"""Deliveries, newest first, filtered: each look is bounded, and says how far it looked.

What a record says costs a thousandth of a second for twenty deliveries; a payload is read only where somebody asks for
its subject or a text in it, and those looks are shorter.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from arq.connections import ArqRedis

from receiver.queue.keys import Keys
from worker.console.payload import Masking
from worker.dead_letters import Operator
from worker.elsewhere import PayloadElsewhere
from worker.outcomes import states
from worker.transitions import PARSE

PAGE = 50
"""Deliveries on a page."""
LOOK, LOOK_INSIDE = 2000, 300
"""Records looked at for one page at most, and payloads."""
_AT_ONCE = 200
STATES = ("done", "skipped", "retry", "dead", "open", "duplicate", "conflict")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for, in the words of the page's address; "" for anything."""

    type: str = ""
    handler: str = ""
    outcome: str = ""
    since: str = ""
    until: str = ""
    key: str = ""
    subject: str = ""
    text: str = ""

    @classmethod
    def of(cls, words: Mapping[str, str]) -> "Query":
        return cls(**{one.name: words.get(one.name, "").strip()[:200] for one in fields(cls)})

    def words(self) -> dict[str, str]:
        """Those that are given."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery of the list. `handlers` is the state of each, `accepted` aware."""

    id: str
    key: str
    type: str
    accepted: datetime
    duplicates: int
    conflicts: int
    is_open: bool
    handlers: Mapping[str, str]

    @classmethod
    def of(cls, delivery_id: str, record: Mapping[bytes, bytes]) -> "Row | None":
        """From a record; None where it is not remembered any more."""
        if b"a" not in record:
            return None
        text = {name.decode(): value.decode("utf-8", "backslashreplace") for name, value in record.items()}
        ended = states({name: value for name, value in text.items() if "." in name or name == PARSE})
        return cls(
            id=delivery_id,
            key=text.get("k", ""),
            type=text.get("t", ""),
            accepted=datetime.fromtimestamp(int(text["a"]) / 1_000_000, tz=UTC),
            duplicates=int(text.get("n", 0)),
            conflicts=int(text.get("c", 0)),
            is_open="u" in text or any(state == "retry" for state, _ in ended.values()),
            handlers={name: state for name, (state, _) in ended.items()},
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A page: `looked` of `listed` deliveries were looked at; `after` is where the next one begins, None at the end."""

    rows: Sequence[Row]
    looked: int
    listed: int
    after: str | None


class WrongQuery(ValueError):
    """One line: what of the query cannot be read."""


async def look(redis: ArqRedis, keys: Keys, masking: Masking, query: Query, after: str = "") -> Found:
    """The next page of matching deliveries. Raises `WrongQuery`, or one of `REDIS_ERRORS`."""
    since, until = _time("since", query.since), _time("until", query.until)
    listed = int(await redis.execute_command("LLEN", keys.recent))
    place = await _place_of(redis, keys, after)
    most = LOOK_INSIDE if query.subject or query.text else LOOK
    rows: list[Row] = []
    looked = 0
    while len(rows) < PAGE and looked < most:
        ids = await _ids(redis, keys, place + looked, min(_AT_ONCE, most - looked))
        for one in await _read(redis, keys, ids):
            if len(rows) == PAGE:
                break
            looked += 1
            after = one.id if isinstance(one, Row) else one
            if isinstance(one, Row) and since and one.accepted < since:
                return Found(rows, looked, listed, None)
            if (
                isinstance(one, Row)
                and _matches(one, query, until)
                and await _has_inside(Operator(redis, keys), masking, one, query)
            ):
                rows.append(one)
        if len(ids) < _AT_ONCE and len(rows) < PAGE and place + looked >= listed:
            return Found(rows, looked, listed, None)
    return Found(rows, looked, listed, f"{place + looked}.{after}" if place + looked < listed else None)


async def _place_of(redis: ArqRedis, keys: Keys, after: str) -> int:
    """How many of the list come before a page: others have arrived since its address was made."""
    if not (found := re.fullmatch(r"(\d{1,9})\.([0-9a-f]{1,40})", after)):
        return 0
    place, last = int(found[1]), found[2]
    for start in range(place - 1, place + 10_000, 1000):
        ids = await _ids(redis, keys, max(start, 0), 1000)
        if last in ids:
            return max(start, 0) + ids.index(last) + 1
        if not ids:
            break
    return place


async def _ids(redis: ArqRedis, keys: Keys, start: int, count: int) -> list[str]:
    records = await redis.execute_command("LRANGE", keys.recent, -start - count, -start - 1)
    prefix = keys.delivery("")
    return [record.decode().removeprefix(prefix) for record in reversed(records)]


async def _read(redis: ArqRedis, keys: Keys, ids: Sequence[str]) -> list[Row | str]:
    """A row for each id, or the id itself where nothing is remembered."""
    async with redis.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.hgetall(keys.delivery(one))
        records = await pipe.execute()
    return [Row.of(one, record) or one for one, record in zip(ids, records, strict=True)]


def _matches(row: Row, query: Query, until: datetime | None) -> bool:
    return (
        (not query.type or row.type == query.type)
        and (not query.key or query.key in row.key or row.id.startswith(query.key))
        and (until is None or row.accepted <= until)
        and _has_outcome(row, query.handler, query.outcome)
    )


def _has_outcome(row: Row, handler: str, outcome: str) -> bool:
    if outcome in {"open", "duplicate", "conflict"}:
        is_so = {"open": row.is_open, "duplicate": row.duplicates > 0, "conflict": row.conflicts > 0}[outcome]
        return is_so and (not handler or handler in row.handlers)
    some = row.handlers if not handler else {name: state for name, state in row.handlers.items() if name == handler}
    return bool(some or not handler) and (not outcome or outcome in some.values())


async def _has_inside(operator: Operator, masking: Masking, row: Row, query: Query) -> bool:
    """Whether the payload has what is asked for; masked values match nothing, or a search would reveal them."""
    if not (query.subject or query.text):
        return True
    try:
        delivery = await operator.received(row.id)
    except PayloadElsewhere:
        return False
    if delivery is None:
        return False
    if query.subject and query.subject not in {subject := masking.subject(delivery), subject.partition(":")[2]}:
        return False
    return not query.text or query.text.casefold() in masking.shown(delivery).text.casefold()


def _time(name: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise WrongQuery(f"{name}: expected a time such as 2026-11-26T08:00") from None
