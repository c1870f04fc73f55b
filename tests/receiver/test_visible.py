"""Text from outside, as a person sees it: short, in its line, and nothing in it that a terminal obeys."""

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from receiver import logs, visible
from receiver.visible import LONGEST, in_log, to_json, visible_lines
from receiver.visible import visible as shown

UNSAFE = {
    *range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000),
}  # fmt: skip
texts = st.text(st.characters(exclude_categories=()))


def unsafe_in(text: str) -> set[str]:
    """What must not reach a terminal."""
    return {character for character in text if ord(character) in UNSAFE}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Válvula nº 3: ação 🔧 👩‍🔧", "Válvula nº 3: ação 🔧 👩‍🔧"),
        ("تسرب الزيت", "تسرب الزيت"),
        ("C:\\path", "C:\\path"),
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),
        ("\x9b31m\x90q\x9c\x85", r"\x9b31m\x90q\x9c\x85"),
        ("line\nnext\r\n\ttab\0", r"line\nnext\r\n\ttab\x00"),
        ("del\x7f", r"del\x7f"),
        ("evil\u202egnp.exe \u2066x\u2069", r"evil\u202egnp.exe \u2066x\u2069"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_controls_are_seen_and_letters_stay(text: str, expected: str) -> None:
    """Every alphabet and emoji as it is; what moves a cursor, reverses text or breaks a line as an escape."""
    assert shown(text) == expected


@given(texts, st.integers(0, 50))
def test_nothing_unsafe_is_left_of_any_text(text: str, limit: int) -> None:
    """Whatever it is, it is one line that can be written anywhere, of at most so many characters and their escapes."""
    short = shown(text, limit)
    assert not unsafe_in(short)
    assert len(short) <= max(6 * limit, 1)
    short.encode()
    assert not unsafe_in(visible_lines(text, limit)) - {"\n"}


def test_a_text_is_cut_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of controls costs what a line of them costs."""
    escaped: list[str] = []

    def escape(found: re.Match[str]) -> str:
        escaped.append(found[0])
        return r"\x9b"

    monkeypatch.setattr(visible, "_escaped", escape)
    assert shown("\x9b" * 1_000_000) == r"\x9b" * (LONGEST - 1) + "…"
    assert len(escaped) == LONGEST - 1


def test_a_text_with_lines_keeps_them() -> None:
    """A payload or a traceback is read line by line."""
    assert visible_lines("{\n\t\x1b\r\n}") == "{\n\\t\\x1b\\r\n}"


@given(st.recursive(texts | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner)))
def test_json_says_the_same_without_anything_unsafe(value: Any) -> None:
    """A program reads what was there, and a terminal finds nothing to obey."""
    text = to_json(value)
    assert json.loads(text) == value
    assert not unsafe_in(text) - {"\n"}
    assert to_json("ação") == '"ação"'


@given(st.dictionaries(texts, texts | st.lists(texts) | st.dictionaries(texts, texts) | st.binary(), max_size=5))
def test_no_log_line_holds_anything_unsafe(line: dict[str, Any]) -> None:
    """Names, values, and what is a level deeper."""
    found = in_log(line)
    assert not unsafe_in("".join(map(str, leaves(found)))) - {"\n"}


def leaves(value: Any) -> list[object]:
    if isinstance(value, dict):
        return [leaf for name, part in value.items() for leaf in (name, *leaves(part))]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, list) else [value]


def test_a_log_line_is_short_and_keeps_what_is_no_text() -> None:
    """Numbers stay numbers, small lists stay lists, and nothing makes a line of megabytes."""
    big = "x" * 1_000_000
    found = in_log({
        "event": big, "n": 1, "f": 0.5, "ok": True, "none": None, "hosts": ("a", "b"), big: 1,
        "many": [big] * 100, "deep": {"a": {"b": [big]}}, "error": OSError(big),
    })  # fmt: skip
    assert (found["n"], found["f"], found["ok"], found["none"], found["hosts"]) == (1, 0.5, True, None, ["a", "b"])
    assert len(json.dumps(found)) < 5 * 6 * LONGEST


@pytest.fixture
def other_logs() -> Iterator[None]:
    """The log as it was before a test that sets it up otherwise."""
    before, handlers, level = structlog.get_config(), logging.root.handlers[:], logging.root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    structlog.configure(**before)
    logging.captureWarnings(capture=False)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.usefixtures("other_logs")
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_an_exception_in_the_log_is_visible_and_shows_no_variable(
    log_format: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From structlog and from the standard library: types and places, and no text that a sender may have written."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # to be put back
    logs.configure(log_format, "info", "test")
    payload, evil = {"title": "payload-words"}, "from outside \x1b]52;c;x\x07\x9b\u202e"
    try:
        raise OSError(evil)  # noqa: TRY301 - the traceback is what is tried
    except OSError:
        structlog.get_logger().exception("failed\x9b", title="\x1b[31m", **{"na\x9bme": 1})
        logging.getLogger("elsewhere").exception("failed %s", "\x9b")
    logs.flush()
    said = capfd.readouterr().err
    assert payload["title"] not in said
    assert "from outside" not in said
    assert said.count("tests/receiver/test_visible.py:") == said.count("OSError") == 2
    plain = re.sub("\x1b\\[[0-9;]*m", "", said)  # the log's own colours
    assert not unsafe_in(plain) - {"\n"}
