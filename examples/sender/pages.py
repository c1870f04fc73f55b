"""Reports as HTML: one self-contained page, readable on a phone, in the dark and on paper."""

from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem; border-bottom: 1px solid #8884 }
td { white-space: pre-line; overflow-wrap: anywhere }
td:first-child { white-space: nowrap }
.failed { color: #c22; font-weight: bold } .passed { color: #2a7d2a } .warning { color: #a60 } .skipped { color: #888 }
pre { padding: 1rem; background: #8882; overflow-x: auto }
"""


def page(title: str, subtitle: str, *sections: str) -> str:
    """A whole page; `title` and `subtitle` are text, the sections are HTML made by the functions below."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text; a cell that is a status word is coloured as one."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def listing(title: str, text: str) -> str:
    """Lines to be copied as they are."""
    return f"<h2>{escape(title)}</h2><pre>{escape(text)}</pre>"


def _cell(text: str) -> str:
    status = text if text in {"failed", "passed", "warning", "skipped"} else ""
    return f'<td class="{status}">{escape(text)}</td>' if status else f"<td>{escape(text)}</td>"
