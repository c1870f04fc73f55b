"""Text that anybody can type, made harmless: the table that the official renderer is shown too."""

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.handlers.teams.untrusted import cut, markdown, paragraphs, plain, right_to_left

J = "\u2060"


@pytest.mark.parametrize(
    ("typed", "escaped"),
    [
        ("plain words, 3.5 bar", "plain words, 3.5 bar"),
        ("[click me](https://evil)", r"\[click me\]\(https://evil\)"),
        ("**bold** _it_ ~no~ `code`", r"\*\*bold\*\* \_it\_ \~no\~ \`code\`"),
        ("# heading", r"\# heading"),
        ("- item", r"\- item"),
        ("+ item", r"\+ item"),
        ("1. item", f"1{J}. item"),
        ("12) item", r"12\) item"),
        ("> quote | cell", r"\> quote \| cell"),
        ("<at>Ana</at>", r"\<at\>Ana\</at\>"),
        ("![x](y)", r"\!\[x\]\(y\)"),
        (r"back\slash", r"back\\slash"),
        ("{{DATE(2026-11-03T09:00:00Z)}}", rf"{{{J}{{DATE\(2026-11-03T09:00:00Z\)}}}}"),
        ("{{{TIME(x)}}}", rf"{{{J}{{{J}{{TIME\(x\)}}}}}}"),
        ("&lt; AT&T &#42;", rf"&{J}lt; AT&T &{J}\#42;"),
        ("see https://example.com", "see https://example.com"),
        ("line\nnext\r\nthird\ttab", "line next third tab"),
        ("bell\x07 null\x00 del\x7f", "bell null del"),
        ("evil\u202egnp.exe", "evilgnp.exe"),
        ("isolate\u2066x\u2069", "isolatex"),
        ("half \ud83d pair", "half pair"),
        ("Válvula nº 3: ação 🔧", "Válvula nº 3: ação 🔧"),
        ("تسرب الزيت", "تسرب الزيت"),
    ],
)
def test_markdown_is_shown_as_typed(typed: str, escaped: str) -> None:
    """Every way to make more of a text than text is taken away, and nothing else."""
    assert markdown(typed, 200) == escaped


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("ab cdefg", 4, "ab…"),
        ("e\u0301e\u0301e\u0301", 4, "e\u0301…"),
        ("👩‍🔧👩‍🔧", 5, "👩‍🔧…"),
        ("👩‍🔧👩‍🔧", 3, "…"),
        ("👍🏽👍🏽", 2, "…"),
        ("", 0, ""),
    ],
)
def test_a_cut_never_splits_what_is_read_as_one(text: str, limit: int, expected: str) -> None:
    """Accents and joined emoji stay whole, and the ellipsis counts."""
    assert cut(text, limit) == expected


@pytest.mark.parametrize(("text", "expected"), [("تسرب", True), ("שלום x", True), ("123 x ت", False), ("12", False)])
def test_direction(text: str, *, expected: bool) -> None:
    """The first letter with a direction decides."""
    assert right_to_left(text) is expected


def test_paragraphs_stay_paragraphs() -> None:
    """Lines are kept, empty ones dropped, and what is too much joins the last."""
    assert paragraphs("a\n\n b \r\nc", 100) == ["a", "b", "c"]
    assert paragraphs("a\nb\nc\nd", 100, most=3) == ["a", "b", "c d"]
    assert paragraphs(" \n ", 100) == []


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(text=st.text(), limit=st.integers(1, 50))
def test_whatever_is_typed_is_short_and_can_be_sent(text: str, limit: int) -> None:
    """No control character, no override, no date function, never longer than asked, and UTF-8 can hold it."""
    shown = plain(text, limit)
    assert len(shown.replace(J, "")) <= limit
    assert "{{" not in shown
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in shown)
    assert not any("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069" for character in shown)
    markdown(text, limit).encode()
