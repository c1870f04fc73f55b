"""Looks for trouble every few seconds and tells it. Runs in every worker and every receiver; one of them does it."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

import structlog
from redis.asyncio import Redis

from receiver.alerts import card, silence, teams, troubles
from receiver.alerts.book import Book, News
from receiver.alerts.settings import AlertSettings
from receiver.alerts.store import HostBook, SharedBook
from receiver.alerts.troubles import Trouble
from receiver.figures import Figures, read
from receiver.queue.connection import REDIS_ERRORS
from receiver.queue.keys import Keys

BETWEEN_CARDS = 4
"""Times ALERTS_EVERY: a workflow takes about 100 cards an hour, and what comes within a minute is one card."""
LONGEST_WAIT = 3600.0
TEN_MINUTES = 600
STOPPING = 1.0
"""Seconds for which a process that stops waits for Teams' answer."""
log = structlog.get_logger()


class Alerting:
    """One process's part. `host` is for a receiver to tell that Redis is away, with how many events are `spooled`."""

    def __init__(
        self,
        settings: AlertSettings,
        redis: Redis,
        keys: Keys,
        host: HostBook | None = None,
        spooled: Callable[[], int] = int,
    ) -> None:
        self._settings, self._redis, self._keys = settings, redis, keys
        self._host, self._spooled = host, spooled
        # Longer than Teams may take for a card: what was sent has to be written down under the same lease.
        self._shared = SharedBook(redis, keys, 3 * settings.alerts_every + teams.TIMEOUT)

    async def run(self) -> None:
        """Look until cancelled; then another process may."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(self._settings.alerts_every)
        finally:
            if self._host:
                self._host.leave(for_good=False)
            with suppress(*REDIS_ERRORS):
                async with asyncio.timeout(0.5):
                    await self._shared.leave()

    async def _look(self) -> None:
        try:
            await self._look_at_all()
            if self._host and self._host.is_there:
                await self._tell_of_host([])
        except REDIS_ERRORS as error:
            if self._host:
                with suppress(OSError):  # the disk's own alert is what the receiver reports of its spool
                    await self._tell_of_host([_away(error, self._spooled(), self._settings.alerts_after)])

    async def _look_at_all(self) -> None:
        figures = await read(self._redis, self._keys)
        if self._host and figures.alive("worker"):
            await self._shared.leave()  # a worker does it
            return
        book = await self._shared.take()
        if book is None:
            return
        found = [*await self._troubles(figures), *book.rises(troubles.counts(figures.metrics), figures.now)]
        news = self._step(book, found, figures.now)
        if not await self._shared.keep(book):
            return
        _log(news)
        await _to_its_end(self._send(book, figures.now, self._shared.keep))

    async def _troubles(self, figures: Figures) -> list[Trouble]:
        number = int(figures.now) // TEN_MINUTES
        recent = [await self._counted(number - back) for back in (0, 1)]
        runs = troubles.runs(recent)
        hours = await silence.learn(self._redis, self._keys, figures.now)
        return list(troubles.of_figures(figures, runs, hours, self._settings))

    async def _counted(self, ten_minutes: int) -> dict[str, int]:
        fields: dict[bytes, bytes] = await self._redis.execute_command("HGETALL", self._keys.metrics_of(ten_minutes))
        return {name.decode(): int(by) for name, by in fields.items()}

    async def _tell_of_host(self, found: list[Trouble]) -> None:
        """Tell what only this host can; one of its receivers does, and remembers it in a file. Raises OSError."""
        assert self._host is not None  # noqa: S101 - a worker has none
        book = self._host.take()
        if book is None:
            return
        now = time.time()
        news = self._step(book, found, now)
        await self._host.keep(book)
        _log(news)
        await _to_its_end(self._send(book, now, self._host.keep))
        if not found and book.is_settled:
            self._host.leave(for_good=True)

    def _step(self, book: Book, found: list[Trouble], now: float) -> list[News]:
        news = book.step(found, now, self._settings.alerts_over_after)
        if self._settings.alerts_teams_url:
            book.wait_for_teams(news)
        return news

    async def _send(self, book: Book, now: float, keep: Callable[[Book], Awaitable[object]]) -> None:
        """Send what waits, if it is time, and write down that it was sent."""
        url = self._settings.alerts_teams_url
        if not (url and book.unsent and now >= book.next_card):
            return
        some = book.unsent[: card.MOST]
        answer = await teams.post(url, card.encode(some, self._keys.prefix.rstrip(":")))
        if answer.why:
            book.failures += 1
            wait = max(answer.wait, min(self._settings.alerts_every * 2**book.failures, LONGEST_WAIT))
            log.warning("teams did not take alerts: they are sent again", reason=answer.why, in_s=round(wait))
        else:
            book.unsent, book.failures, wait = book.unsent[len(some) :], 0, BETWEEN_CARDS * self._settings.alerts_every
        book.next_card = now + wait
        await keep(book)


async def _to_its_end(sending: Coroutine[None, None, None]) -> None:
    """A card that is on its way when the process is stopped would otherwise be sent again by the next one."""
    task = asyncio.create_task(sending)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=STOPPING)
        task.cancel()
        raise


def _away(error: BaseException, spooled: int, after: float) -> Trouble:
    text = f"Redis does not answer ({type(error).__name__}). {spooled} events wait on disk; nothing is handled."
    return Trouble("GlartekRedisAway", text, socket.gethostname(), after)


def _log(news: list[News]) -> None:
    for one in news:
        if one.is_over:
            log.info("alert is over", **one.told)
        else:
            log.warning("alert", **one.told)
