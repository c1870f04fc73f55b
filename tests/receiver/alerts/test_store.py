"""One process alerts at a time, and the next one knows what it told."""

import asyncio
from pathlib import Path

from arq.connections import ArqRedis

from receiver.alerts.book import Book
from receiver.alerts.store import HostBook, SharedBook
from receiver.alerts.troubles import Trouble
from receiver.queue.keys import Keys

KEYS = Keys("glartek:")
UNSAFE = Trouble("GlartekUnsafe", "appendonly no", "a-host")


def told(book: Book) -> bool:
    """Tell one trouble, if it was not told."""
    return bool(book.step([UNSAFE], 1000.0, 300))


async def taken(shared: SharedBook) -> Book:
    """The book, once this process may have it."""
    async with asyncio.timeout(5):
        while (book := await shared.take()) is None:  # noqa: ASYNC110 - Redis's doing
            await asyncio.sleep(0.005)
    return book


async def test_another_takes_over_from_one_that_was_killed(redis: ArqRedis) -> None:
    """When its lease has ended, not before; what was told stays told."""
    one, other = (SharedBook(redis, KEYS, 0.3) for _ in range(2))
    book = await one.take()
    assert book is not None
    assert await other.take() is None
    assert told(book)
    assert await one.keep(book)
    assert not told(await taken(other))
    assert await one.take() is None


async def test_one_that_was_frozen_changes_nothing(redis: ArqRedis) -> None:
    """Neither while another has the lease nor when nobody has it."""
    one, other = (SharedBook(redis, KEYS, 0.3) for _ in range(2))
    old = await one.take()
    assert old is not None
    await redis.delete(KEYS.alerting)
    assert not await one.keep(old)
    book = await other.take()
    assert book is not None
    assert told(book)
    assert await other.keep(book)
    assert not await one.keep(old)
    book = await other.take()
    assert book is not None
    assert not told(book)


async def test_one_that_stops_makes_way_at_once(redis: ArqRedis) -> None:
    """And one that has no lease takes none from another by stopping."""
    one, other, third = (SharedBook(redis, KEYS, 60) for _ in range(3))
    assert await one.take() is not None
    await other.leave()
    assert await third.take() is None
    await one.leave()
    await taken(other)


async def test_one_receiver_of_a_host_has_its_book(tmp_path: Path) -> None:
    """The next one has it when that one has ended, and knows what it told."""
    one, other = (HostBook(tmp_path / "spool.db") for _ in range(2))
    assert not one.is_there
    book = one.take()
    assert book is not None
    assert told(book)
    await one.keep(book)
    assert other.take() is None
    one.leave(for_good=False)
    assert other.is_there
    book = other.take()
    assert book is not None
    assert not told(book)
    other.leave(for_good=True)
    assert not one.is_there


def test_a_host_book_that_was_cut_short_is_begun_anew(tmp_path: Path) -> None:
    """Its disk was full."""
    (tmp_path / "spool.db.alerts").write_text('{"seen": {"Glar')
    host = HostBook(tmp_path / "spool.db")
    book = host.take()
    assert book is not None
    assert told(book)
    host.leave(for_good=True)
