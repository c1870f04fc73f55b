"""What is told of an error: one short line that can be stored, without what may be a secret."""

import time

import pytest

from worker import GiveUp, RetryLater, Skip
from worker.error_text import describe


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("502 from https://flows.example.com/invoke?sig=s3cret&x=1", "s3cret"),
        ("502 from https://user:s3cret@example.com/path", "s3cret"),
        ("502 from postgresql://user:s3cret@db/audit", "s3cret"),
        ("502 from https://example.com/#s3cret", "s3cret"),
    ],
)
def test_a_credential_in_a_url_is_not_described(text: str, hidden: str) -> None:
    """Reasons go to logs and lists: a signed URL's signature and a password do not."""
    for error in (RuntimeError(text), GiveUp(text), RetryLater(1, text), Skip(text)):
        assert hidden not in describe(error)
        assert "502 from" in describe(error)


@pytest.mark.parametrize(
    ("text", "described"),
    [
        (
            "Client error '403 Forbidden' for url 'https://hooks.example.com/T0/s3cret'",
            "OSError: Client error '403 Forbidden' for url 'https://hooks.example.com/…'",
        ),
        (
            "HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /s3cret/x (Caused by y)",
            "OSError: HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /… (Caused by y)",
        ),
        ("unable to open sqlite:////data/audit.db", "OSError: unable to open sqlite:////data/audit.db"),
    ],
)
def test_a_path_in_a_librarys_error_is_not_described(text: str, described: str) -> None:
    """A URL's path may be the secret; what a handler says on purpose is left as it is."""
    assert describe(OSError(text)) == described
    assert describe(GiveUp(text)) == text


def test_a_description_is_one_line_and_short() -> None:
    """However long and wrapped the message, a list stays a list."""
    described = describe(RuntimeError("a\nb\r\n  c " + "x" * 10_000))
    assert described.startswith("RuntimeError: a b c xxx")
    assert len(described) == 300


@pytest.mark.parametrize("text", ["half \ud83d", "\udfff" * 1000, "null \0", "é 🙂"])
def test_a_description_can_be_stored(text: str) -> None:
    """Half of a surrogate pair has no UTF-8 form: Redis would not take it, and the failure would not be counted."""
    for error in (RuntimeError(text), GiveUp(text)):
        assert describe(error).encode()
        assert len(describe(error)) <= 300


def test_a_long_word_is_described_at_once() -> None:
    """An error that repeats a megabyte of base64 does not hold up the worker."""
    started = time.monotonic()
    describe(RuntimeError("x" * 1_000_000 + " " + "http://" * 100_000))
    describe(RuntimeError("x " * 10_000_000))
    assert time.monotonic() - started < 0.5


def test_an_exception_that_cannot_be_printed_has_its_name() -> None:
    """An error in an error is still one handler's failure and nobody else's."""
    assert describe(Unspeakable()) == "Unspeakable"
