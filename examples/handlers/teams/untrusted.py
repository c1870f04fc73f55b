r"""Event text stays text: nothing that anybody typed in the field becomes a link, a mention or a layout in Teams.

Teams reads Markdown in `TextBlock` and `Fact` (unescaped, `[click me](https://evil)` is a live link), expands
`{{DATE(…)}}` everywhere, and shows what a bidirectional override tells it to. The rules were tried in Microsoft's
own renderer; `tests/examples/handlers/teams/test_rendered.py` tries them again.

Cleaning looks at every character, so a text is cut before it is cleaned, to twice what can be shown: some characters
are dropped, and spaces are joined.
"""

import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_~\[\]()<>#|!])")
_LIST_MARKER = re.compile(r"^(\s*)([-+=]|\d{1,9}(?=\.))", re.MULTILINE)
_ENTITY = re.compile(r"&(?=#?\w+;)")
_DATE_FUNCTION = re.compile(r"\{(?=\{)")
_OVERRIDES = "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_JOINER = "\u2060"  # WORD JOINER: not seen, never wrapped at, and it parts what a parser would otherwise join
_ELLIPSIS = "…"
_FIRST_LETTERS = 200  # characters in which a text's direction is looked for


def plain(text: object, limit: int) -> str:
    """Text for a `TextRun` or `fallbackText`, where Markdown is not read: at most `limit` characters, one line."""
    return _DATE_FUNCTION.sub("{" + _JOINER, cut(" ".join(_visible(text, limit).split()), limit))


def markdown(text: object, limit: int) -> str:
    """Text for a `TextBlock` or a `Fact`, where Markdown is read: shown as it was typed, at most `limit` characters."""
    parted = _ENTITY.sub("&" + _JOINER, plain(text, limit))
    return _LIST_MARKER.sub(_escape_marker, _MARKDOWN.sub(r"\\\1", parted))


def paragraphs(text: object, limit: int, most: int = 30) -> list[str]:
    """The lines of a long text, each as `plain` gives it; what comes after `most` of them joins the last."""
    lines = [line for line in cut(_visible(text, limit), limit).split("\n") if line.strip()]
    lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [plain(line, limit) for line in lines if line]


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis for the rest, and never in the middle of an emoji or an accent."""
    if len(text) <= limit:
        return text
    end = max(limit - len(_ELLIPSIS), 0)
    while end > 0 and (_continues(text[end]) or text[end - 1] == "\u200d"):
        end -= 1
    return text[:end].rstrip() + _ELLIPSIS


def right_to_left(text: str) -> bool:
    """Whether the text reads from the right: its first letter with a direction decides, as Unicode's rule P2 says."""
    for character in text[:_FIRST_LETTERS]:
        direction = unicodedata.bidirectional(character)
        if direction in {"L", "R", "AL"}:
            return direction != "L"
    return False


def _visible(text: object, limit: int) -> str:
    """Without control characters, bidirectional overrides and halves of surrogate pairs; line ends are kept.

    A text of which far more than `limit` characters are left out ends in an ellipsis.
    """
    whole = str(text).strip()
    start = whole[: 2 * limit + 100]
    lines = re.sub(r"\r\n?|[\u2028\u2029\x85]", "\n", start if len(start) == len(whole) else start + _ELLIPSIS)
    return "".join(
        character
        for character in lines
        if character in "\n\t" or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _OVERRIDES)
    )


def _continues(character: str) -> bool:
    return (
        unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or character == "\u200d"
        or (
            "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        )
    )


def _escape_marker(match: re.Match[str]) -> str:
    space, marker = match.groups()
    return f"{space}{marker}{_JOINER}" if marker.isdigit() else f"{space}\\{marker}"
