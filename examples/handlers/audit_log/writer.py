"""Writes events in batches: those that wait at the same time share one transaction and one flush to disk."""

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
    """The audit log cannot be written at the moment; the worker tries again with back-off."""


class Writer:
    """Appends to one log; records that arrive during a transaction go into the next one."""

    def __init__(self, engine: Engine, seal: Seal) -> None:
        self._engine, self._seal = engine, seal
        self._batcher: Batcher[Record, Appended | Exception] = Batcher(self._write, count=_MOST, weight=_MOST_TEXT)

    async def append(self, record: Record) -> Appended:
        """Append a record; returns once it is on disk. Raises `LogUnavailable`, or `GiveUp` if no retry can help."""
        answer = await self._batcher.add(record, len(record.payload))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _write(self, records: Sequence[Record]) -> list[Appended | Exception]:
        return await asyncio.to_thread(self._written, records)  # the drivers are synchronous

    def _written(self, records: Sequence[Record]) -> list[Appended | Exception]:
        """The result for each record. A record that the database rejects is found by halving, and only it fails."""
        try:
            return [*database.append(self._engine, records, self._seal)]
        except Exception as error:  # noqa: BLE001 - one record's error must not stop the others
            if len(records) == 1 or _concerns_all(error):
                return [_failure(error) for _ in records]
        half = len(records) // 2
        return [*self._written(records[:half]), *self._written(records[half:])]


def _concerns_all(error: Exception) -> bool:
    """Whether every record would fail: the database is unreachable, locked, full, read-only or not the kit's."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError):
        return not _is_limit(error)
    return isinstance(error, Refused) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated)


def _is_limit(error: Exception) -> bool:
    """Whether a limit was exceeded: PostgreSQL's class 54 is an OperationalError, but concerns only one record."""
    return isinstance(error, sa.exc.DBAPIError) and postgresql.sqlstate(error.orig).startswith("54")


def _failure(error: Exception) -> Exception:
    if isinstance(error, sa.exc.DataError | UnicodeError) or _is_limit(error):
        return GiveUp(f"the audit log's database cannot hold this event: {database.cause(error)}")
    return LogUnavailable(f"the audit log cannot be written: {database.cause(error)}")
