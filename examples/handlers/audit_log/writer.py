"""Events that wait for the database at the same time are written together: one transaction, one flush to disk."""

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from examples.handlers.audit_log import database, postgresql
from examples.handlers.audit_log.database import Appended
from examples.handlers.audit_log.record import Record
from examples.handlers.audit_log.schema import Refused
from examples.handlers.audit_log.seal import Seal
from worker import Batcher, GiveUp

_MOST = 500  # records in one transaction
_MOST_TEXT = 4 << 20  # characters of payload in one transaction


class LogUnavailable(Exception):
    """The audit log cannot be written for now: the worker tries again with its own back-off."""


class Writer:
    """Appends to one log; while a transaction is under way, what arrives waits for the next."""

    def __init__(self, engine: Engine, seal: Seal) -> None:
        self._engine, self._seal = engine, seal
        self._batcher: Batcher[Record, Appended | Exception] = Batcher(self._write, count=_MOST, weight=_MOST_TEXT)

    async def append(self, record: Record) -> Appended:
        """What became of the record, once it is on disk. Raises `LogUnavailable` or, where no retry helps, `GiveUp`."""
        answer = await self._batcher.add(record, len(record.payload))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _write(self, records: Sequence[Record]) -> list[Appended | Exception]:
        return await asyncio.to_thread(self._written, records)  # the drivers are synchronous

    def _written(self, records: Sequence[Record]) -> list[Appended | Exception]:
        """An answer for each: a record that the database does not take is found by halves and fails alone."""
        try:
            return [*database.append(self._engine, records, self._seal)]
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not hold up the other records
            if len(records) == 1 or _concerns_all(error):
                return [_failure(error) for _ in records]
        half = len(records) // 2
        return [*self._written(records[:half]), *self._written(records[half:])]


def _concerns_all(error: Exception) -> bool:
    """Whether no other record would fare better: the database is gone, locked, full, read-only or not ours."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return not _is_limit(error)
    return isinstance(error, Refused) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated)


def _is_limit(error: Exception) -> bool:
    """PostgreSQL's class 54 is about one statement (a value too long), although its driver files it with outages."""
    return isinstance(error, sa.exc.DBAPIError) and postgresql.sqlstate(error.orig).startswith("54")


def _failure(error: Exception) -> Exception:
    if isinstance(error, sa.exc.DataError | UnicodeError) or _is_limit(error):
        return GiveUp(f"the audit log's database cannot hold this event: {database.cause(error)}")
    return LogUnavailable(f"the audit log cannot be written: {database.cause(error)}")
