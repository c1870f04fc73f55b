"""Events that wait for the database at the same time are written together: one transaction, one flush to disk."""

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from examples.handlers.audit_log import database
from examples.handlers.audit_log.database import Appended
from examples.handlers.audit_log.record import Record

_MOST = 500  # records in one transaction


class LogUnavailable(Exception):
    """The audit log cannot be written for now: the worker tries again with its own back-off."""


@dataclass(slots=True)
class _Waiting:
    record: Record
    appended: asyncio.Future[Appended]


class Writer:
    """Appends to one log; while a transaction is under way, what arrives waits for the next."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def append(self, record: Record) -> Appended:
        """What became of the record, once it is on disk. Raises `LogUnavailable`."""
        waiting = _Waiting(record, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write_all())
        return await waiting.appended

    def close(self) -> None:
        """Give the database's connections back; the next append would open new ones."""
        self._engine.dispose()

    async def _write_all(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            await self._write(together)

    async def _write(self, together: list[_Waiting]) -> None:
        records = [waiting.record for waiting in together]
        try:
            outcomes = await asyncio.to_thread(database.append, self._engine, records)  # the drivers are synchronous
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            _fail(together, error)
        except sa.exc.SQLAlchemyError as error:
            if len(together) == 1:
                _fail(together, error)
                return
            for waiting in together:  # one record that the database will not take must not hold up the others
                await self._write([waiting])
        else:
            for waiting, appended in zip(together, outcomes, strict=True):
                if not waiting.appended.done():  # the handler's time was up: it comes again, and the row is there
                    waiting.appended.set_result(appended)


def _fail(together: list[_Waiting], error: Exception) -> None:
    cause = str(getattr(error, "orig", error)).partition("\n")[0]
    for waiting in together:
        if not waiting.appended.done():
            waiting.appended.set_exception(LogUnavailable(f"the audit log cannot be written: {cause}"))
