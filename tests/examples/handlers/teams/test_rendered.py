"""Untrusted text in Microsoft's own renderer, in a real browser: it is shown as typed, and is nothing but text."""

import itertools
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from examples.handlers.teams import card, render
from examples.handlers.teams.content import Look
from examples.handlers.teams.languages import ENGLISH
from examples.handlers.teams.render import RendererMissing, Seen
from examples.handlers.teams.untrusted import cut
from receiver import events
from worker import Event

HOSTILE = (
    "[click me](https://evil.example)",
    "<https://evil.example>",
    "![photo](https://evil.example/x.png)",
    "[a][b] [b]: https://evil.example",
    "**bold** __bold__ *it* _it_ ~~gone~~ `code`",
    "# heading",
    "- item",
    "* item",
    "+ item",
    "1. item",
    "1) item",
    "> quote",
    "--- and ===",
    "a | b |---|---|",
    "<at>Ana</at> <b>x</b> <script>alert(1)</script>",
    "&lt;b&gt; &amp; &#42;",
    "{{DATE(2026-11-03T09:00:00Z, SHORT)}}",
    "{{{TIME(2026-11-03T09:00:00Z)}}}",
    r"back\slash \* \\",
    "</script><script>document.title = 'x'</script>",
    "Ação nº 3: válvula 🔧 não fecha",
    "تسرب الزيت من المضخة",
)
INVISIBLE = {"evil\u202egpj.exe": "evilgpj.exe", "nul\x00 bell\x07 esc\x1b[31m": "nul bell esc[31m"}
SHOWN = dict(zip(HOSTILE, HOSTILE, strict=True)) | INVISIBLE
ONLY_LAYOUT = {"DIV", "P", "SPAN", "TABLE", "TBODY", "TR", "TD", "BUTTON"}


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(render.main)
    return app


def _content(message: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = message["attachments"][0]["content"]
    return content


@pytest.fixture(scope="module")
def seen(sample: Callable[..., Event]) -> dict[str, list[Seen]]:
    """The cards of these tests, all in one browser; without the renderer they are skipped, save on CI."""
    look = Look(ENGLISH)
    typed_everywhere = [
        sample(title=typed, site={"name": typed}, description=typed, priority=typed, attachments=[]) for typed in SHOWN
    ]
    groups = {
        "untrusted": [_content(card.build(event, look)) for event in typed_everywhere],
        "wall": [_content(card.build(sample(description=" ".join(SHOWN) * 3, attachments=[]), look))],
        "samples": [render.sample(name, language) for name in events.BY_NAME for language in ("pt", "en")],
    }
    try:
        drawn = iter(render.see([one for group in groups.values() for one in group]))
    except RendererMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    return {name: list(itertools.islice(drawn, len(group))) for name, group in groups.items()}


def test_untrusted_text_is_shown_as_typed(seen: dict[str, list[Seen]]) -> None:
    """In title, facts, description and priority: no link, no emphasis, no list, no mention, no date, no code."""
    for one, shown in zip(seen["untrusted"], SHOWN.values(), strict=True):
        assert one.problems == []
        assert one.links == []
        assert set(one.tags) <= ONLY_LAYOUT
        texts = [text.replace("\u2060", "") for text in one.texts]
        assert texts.count(shown) == 3, texts
        assert f"{cut(shown, 40)} priority" in texts


def test_a_wall_of_text_is_drawn_without_complaint(seen: dict[str, list[Seen]]) -> None:
    """Its beginning and the whole are text, hostile or not, and the button that swaps them leads nowhere."""
    [one] = seen["wall"]
    assert one.problems == []
    assert one.links == []
    assert set(one.tags) <= ONLY_LAYOUT
    assert len([text for text in one.texts if text.startswith("[click me](https://evil.example)")]) == 2


def test_every_sample_card_is_drawn_without_complaint(seen: dict[str, list[Seen]]) -> None:
    """All eleven types in both languages; our own times become the viewer's."""
    names = [name for name in events.BY_NAME for _ in ("pt", "en")]
    for name, one in zip(names, seen["samples"], strict=True):
        assert one.problems == []
        assert not [text for text in one.texts if "{{" in text]
        assert any("2026 " in text for text in one.texts) or name in {"work_order.deleted", "work_order.updated"}


@pytest.mark.usefixtures("seen")
def test_the_command_draws_light_and_dark(tmp_path: Path) -> None:
    """Two pictures for a type, as tall as the card."""
    out = tmp_path / "cards"
    result = CliRunner().invoke(_app(), ["--out", str(out), "--type", "work_order.deleted", "--json"])
    assert result.exit_code == 0
    for theme in ("light", "dark"):
        picture = (out / f"work_order.deleted.{theme}.png").read_bytes()
        width, height = struct.unpack_from(">II", picture, 16)
        assert width == 640
        assert 150 < height < 500


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--type", "action.made"], "no event type 'action.made'"), (["--language", "fr"], "expected one of pt, en")],
)
def test_a_mistake_is_one_clear_line(arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is expected, exit code 2."""
    monkeypatch.setenv("COLUMNS", "300")
    result = CliRunner().invoke(_app(), arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_a_missing_renderer_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line, exit code 2."""
    monkeypatch.setattr(render, "MODULES", tmp_path / "node_modules")
    result = CliRunner().invoke(_app(), ["--out", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.strip().endswith("install it with: .ci/card-renderer")
