"""README.md's chart: accepted and handled events per second, as an SVG that needs nothing but a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tests.bench.book import Book, middle

WIDTH, LEFT, RIGHT = 760, 190, 90
BAR, GAP, HEAD = 22, 8, 40
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.other{fill:#8c959f}.kit{fill:#1a7f64}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.other{fill:#6e7681}.kit{fill:#3fb68b}}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One group of bars: its title, and the series behind each bar with the bar's label."""

    title: str
    bars: Sequence[tuple[str, str]]


PANELS = (
    Panel(
        "accepted and stored per second: 64 connections, unique events of 1 KB, one receiver",
        (
            ("bare endpoint (stores nothing)", "accepts/s · bare endpoint"),
            ("kit, fsync every second", "accepts/s · kit, everysec"),
            ("kit, fsync before every 200", "accepts/s · kit, always"),
            ("Fastify + BullMQ", "accepts/s · Fastify + BullMQ"),
            ("textbook", "accepts/s · textbook"),
        ),
    ),
    Panel(
        "events through three handlers per second, one worker",
        (
            ("kit", "handled/s · kit, everysec"),
            ("kit, two workers", "handled/s · kit, everysec, two workers"),
            ("Fastify + BullMQ", "handled/s · Fastify + BullMQ"),
            ("textbook, tuned", "handled/s · textbook, tuned"),
            ("textbook", "handled/s · textbook"),
        ),
    ),
)


def draw(book: Book) -> str:
    """The panels, one below the other, with the medians of this run; what was not measured has no bar."""
    parts: list[str] = []
    top = 0
    for panel in PANELS:
        bars = [(label, middle(values)) for label, series in panel.bars if (values := book.values(series))]
        if bars:
            parts += _panel(panel.title, bars, top)
            top += HEAD + len(bars) * (BAR + GAP) + GAP
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img">'
    return "\n".join([opening, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _panel(title: str, bars: Sequence[tuple[str, float]], top: int) -> list[str]:
    scale = (WIDTH - LEFT - RIGHT) / max(value for _, value in bars)
    parts = [f'<text class="title" x="0" y="{top + 24}">{escape(title)}</text>']
    for number, (label, value) in enumerate(bars):
        y = top + HEAD + number * (BAR + GAP)
        kind = "kit" if label.startswith("kit") else "other"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" rx="2"/>',
            f'<text x="{LEFT + value * scale + 8:.1f}" y="{y + 16}">{_rounded(value)}</text>',
        ]
    return parts


def _rounded(value: float) -> str:
    """Two significant digits, and no more: the next ones are noise."""
    return f"{float(f'{value:.2g}'):,.0f}".replace(",", " ")
