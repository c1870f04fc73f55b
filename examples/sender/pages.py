"""Reports as one self-contained HTML page, for phones, dark mode and paper."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from examples.sender.terminal import span

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif;
  --line: #8883; --faint: #8881; --passed: #1a7f37; --failed: #cf222e; --warning: #9a6700; --skipped: #6e7781 }
@media (prefers-color-scheme: dark) {
  :root { --passed: #3fb950; --failed: #ff7b72; --warning: #d29922; --skipped: #9198a1 } }
body { max-width: 60rem; margin: 2.5rem auto; padding: 0 1rem }
h1 { margin: 0; font-size: 1.9rem } h2 { margin: 2.5rem 0 .5rem; font-size: 1.25rem } h3 { margin: 0; font-size: 1rem }
p.of { margin: .25rem 0 1.5rem; color: var(--skipped); overflow-wrap: anywhere }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem }
.tiles div { flex: 1 1 7rem; padding: .6rem 1rem; border: 1px solid var(--line); border-radius: .6rem }
.tiles b { display: block; font-size: 1.7rem; line-height: 1.2 }
.passed { color: var(--passed) } .failed { color: var(--failed) }
.warning { color: var(--warning) } .skipped { color: var(--skipped) }
.card { margin: 1rem 0; padding: 1rem 1.25rem; border: 1px solid var(--line); border-left: .3rem solid;
  border-radius: .4rem; break-inside: avoid }
.card > * { color: CanvasText } .card p { margin: .4rem 0; overflow-wrap: anywhere }
.card b { color: var(--skipped); font-weight: 600 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100% } tr { break-inside: avoid }
th, td { padding: .45rem .75rem .45rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { color: var(--skipped); font-size: .85rem; font-weight: 600 }
td { overflow-wrap: anywhere; min-width: 6rem } td:first-child { min-width: 9rem } td.number { min-width: 3rem }
small { display: block; color: var(--skipped) }
.number { text-align: right; padding-right: 1.5rem; font-variant-numeric: tabular-nums; white-space: nowrap }
pre { padding: 1rem; border-radius: .6rem; background: var(--faint); overflow-x: auto }
@media (max-width: 40rem) {
  th, td, td:first-child { min-width: 0; padding-right: .6rem; font-size: .9rem } }
ul { padding-left: 1.2rem } details { margin-top: 2.5rem } summary { cursor: pointer; font-weight: 600 }
svg { width: 100%; min-width: 40rem } svg text, rect { fill: currentColor; font-size: 13px }
footer { margin: 3rem 0 1rem; color: var(--skipped); font-size: .85rem }
"""

_WIDTH, _LABEL, _ROW = 960, 210, 22  # of a timeline, in SVG units


def page(title: str, subtitle: str, *sections: str) -> str:
    """A complete page; `title` and `subtitle` are text, the sections are HTML from the functions below."""
    at = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f'<body><h1>{escape(title)}</h1><p class="of">{escape(subtitle)}</p>\n'
        + "\n".join(filter(None, sections))
        + f"\n<footer>{at}, python -m examples.sender</footer></body></html>\n"
    )


def tiles(counts: Iterable[tuple[object, str, str]]) -> str:
    """A summary from (figure, what it counts, status or "")."""
    shown = (f'<div class="{status}"><b>{escape(str(count))}</b>{escape(what)}</div>' for count, what, status in counts)
    return f'<div class="tiles">{"".join(shown)}</div>'


def card(status: str, title: str, paragraphs: Iterable[tuple[str, str]]) -> str:
    """A finding to act on: paragraphs as (label in bold or "", text)."""
    told = "".join(f"<p>{f'<b>{escape(about)}</b> ' if about else ''}{escape(text)}</p>" for about, text in paragraphs)
    return f'<section class="card {status}"><h3>{escape(title)}</h3>{told}</section>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> str:
    """A table of text with a heading; columns whose name ends with `#` hold numbers. Empty without rows.

    The second line of a cell is shown small, below the first.
    """
    numbers = [column.endswith("#") for column in columns]
    head = "".join(
        _cell("th", column.rstrip("#"), is_number) for column, is_number in zip(columns, numbers, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(map(_cell, ['td'] * len(row), row, numbers))}</tr>" for row in rows)
    drawn = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    return _heading(title) + drawn if body else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A bar on a timeline: start and duration in seconds, status, description."""

    at: float
    seconds: float
    status: str
    told: str


def timeline(title: str, rows: Sequence[tuple[str, Sequence[Mark]]]) -> str:
    """A row for each label with its marks on a shared time axis; a mark's tooltip has its description."""
    end = max((mark.at + mark.seconds for _, marks in rows for mark in marks), default=0.0)
    if not end:
        return ""
    drawn = "".join(
        f'<text x="0" y="{number * _ROW + 15}">{escape(label)}</text>'
        + "".join(_mark(mark, number, end) for mark in marks)
        for number, (label, marks) in enumerate(rows)
    )
    axis = f'<text x="{_LABEL}" y="{len(rows) * _ROW + 18}">0</text>'
    axis += f'<text x="{_WIDTH}" y="{len(rows) * _ROW + 18}" text-anchor="end">{span(end)}</text>'
    size = f"0 0 {_WIDTH} {len(rows) * _ROW + 24}"
    picture = f'<svg viewBox="{size}" role="img" aria-label="{escape(title)}">{drawn}{axis}</svg>'
    return f'{_heading(title)}<div class="wide">{picture}</div>'


def _mark(mark: Mark, row: int, end: float) -> str:
    scale = (_WIDTH - _LABEL - 6) / end
    return (
        f'<rect class="{mark.status}" x="{_LABEL + mark.at * scale:.1f}" y="{row * _ROW + 4}" rx="2" height="14" '
        f'width="{max(mark.seconds * scale, 5):.1f}"><title>{escape(mark.told)}</title></rect>'
    )


def listing(title: str, text: str) -> str:
    """Preformatted text to copy."""
    return f"{_heading(title)}<pre>{escape(text)}</pre>"


def points(texts: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def folded(title: str, section: str) -> str:
    """A collapsed section."""
    return f"<details><summary>{escape(title)}</summary>{section}</details>"


def _heading(title: str) -> str:
    return f"<h2>{escape(title)}</h2>" if title else ""


def _cell(kind: str, text: str, is_number: bool) -> str:  # noqa: FBT001 - called by position in `map`
    mark = ' class="number"' if is_number else ""
    first, _, second = text.partition("\n")
    beneath = f"<small>{escape(second)}</small>" if second else ""
    return f"<{kind}{mark}>{escape(first)}{beneath}</{kind}>"
