"""Cards as people see them: Microsoft's own renderer in headless Chromium, with Teams' light and dark settings.

`python -m examples.handlers.teams.render --out docs/cards` draws the sample events' cards; the tests use the same
renderer to see that untrusted text stays text. `.ci/card-renderer` installs what it needs.
"""

import json
import os
import shutil
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.progress import track

from examples.handlers.teams import card
from examples.handlers.teams.content import Look
from examples.handlers.teams.languages import LANGUAGES
from receiver import events
from receiver.environment import load
from receiver.settings import Settings
from receiver.visible import to_json, visible
from worker.event import parse

MODULES = Path(os.environ.get("CARD_RENDERER", ".renderer")) / "node_modules"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_WIDTH = 640
_PHOTO = "data:image/svg+xml," + quote(Path(__file__).with_name("photo.svg").read_text(encoding="utf-8"))
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 16px; font-family: "Segoe UI", "Liberation Sans", sans-serif; background: {background} }}
body > div {{ border-radius: 6px; overflow: hidden }}
body > div + div {{ margin-top: 16px }}
a {{ color: {link}; text-decoration: none }}
.ac-pushButton {{ font: 600 14px "Segoe UI", "Liberation Sans", sans-serif; padding: 6px 14px; border-radius: 4px;
  background: transparent; border: 1px solid #8886; color: {ink} }}
</style>
<script src="{modules}/adaptivecards/dist/adaptivecards.min.js"></script>
<script src="{modules}/markdown-it/dist/browser/markdown-it.umd.min.js"></script>
<body><script>
for (const format of ["toLocaleDateString", "toLocaleTimeString"]) {{  // a viewer in Portugal, whatever machine draws
  const inLanguage = Date.prototype[format];
  Date.prototype[format] = function (_, options) {{ return inLanguage.call(this, "pt-PT", options); }};
}}
const markdown = window.markdownit();
AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => {{
  result.outputHtml = markdown.render(text); result.didProcess = true;
}};
const seen = {cards}.map(content => {{
  const context = new AdaptiveCards.SerializationContext(AdaptiveCards.Versions.v1_5);
  const card = new AdaptiveCards.AdaptiveCard();
  card.hostConfig = new AdaptiveCards.HostConfig({host});
  AdaptiveCards.AdaptiveCard.langProperty.regEx.lastIndex = 0;  // a global pattern would refuse every second card's
  card.parse(content, context);
  const element = document.body.appendChild(document.createElement("div"));
  element.appendChild(card.render());
  return {{
    texts: [...element.querySelectorAll(".ac-textBlock, .ac-richTextBlock")].map(block => block.textContent.trim()),
    tags: [...new Set([...element.querySelectorAll("*")].map(node => node.tagName))],
    links: [...element.querySelectorAll("a[href]")].map(link => link.href),
    problems: Array.from({{length: context.eventCount}}, (_, at) => context.getEventAt(at).message),
  }};
}});
addEventListener("load", () => {{
  const result = document.createElement("template");
  result.id = "result";
  const height = Math.ceil(document.body.getBoundingClientRect().bottom) + 16;
  result.content.textContent = JSON.stringify({{height, seen}});
  document.body.appendChild(result);
}});
</script>"""


class RendererMissing(Exception):
    """Chromium or the renderer is not installed; the message says how to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a card looks like to its reader: texts, HTML tags in use, links, and what the renderer complained about."""

    texts: list[str]
    tags: list[str]
    links: list[str]
    problems: list[str]


def see(contents: Sequence[dict[str, Any]]) -> list[Seen]:
    """The cards (the `content` of an attachment) as the renderer shows them. Raises `RendererMissing`."""
    with tempfile.TemporaryDirectory() as folder:
        return _read(_page(contents, "light", Path(folder)), Path(folder))[1]


def draw(contents: Sequence[dict[str, Any]], theme: str, to: Path) -> None:
    """Write a PNG of the cards, one below the other, as Teams' `light` or `dark` theme has them."""
    with tempfile.TemporaryDirectory() as folder:
        page = _page(contents, theme, Path(folder))
        height, _ = _read(page, Path(folder))
        taller = f"--window-size={_WIDTH},{height + 200}"  # a window's own frame takes some of its height
        _chromium(Path(folder), taller, f"--screenshot={to.resolve()}", page.as_uri())
    to.write_bytes(_cropped(to.read_bytes(), height))


def _page(contents: Sequence[dict[str, Any]], theme: str, folder: Path) -> Path:
    host = MODULES / f"adaptivecards-designer/lib/hostConfigs/microsoft-teams-{theme}.json"
    if not host.is_file():
        raise RendererMissing(f"the card renderer is not in {MODULES.parent}; install it with: .ci/card-renderer")
    page = folder / "cards.html"
    cards = json.dumps(contents).replace("<", "\\u003c")  # nothing in a card ends the script that it is in
    background, ink, link = {"light": ("#f5f5f5", "#242424", "#5b5fc7"), "dark": ("#1f1f1f", "#fff", "#9ea2ff")}[theme]
    text = _PAGE.format(
        modules=MODULES.resolve().as_uri(),
        cards=cards,
        host=host.read_text(encoding="utf-8"),
        background=background,
        ink=ink,
        link=link,
    )
    page.write_text(text, encoding="utf-8")
    return page


def _read(page: Path, folder: Path) -> tuple[int, list[Seen]]:
    dom = _chromium(folder, "--dump-dom", page.as_uri())
    _, found, rest = dom.partition('<template id="result">')
    if not found:
        raise RendererMissing(f"the card renderer in {MODULES.parent} does not run; install it anew: .ci/card-renderer")
    text = rest.partition("</template>")[0]
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&nbsp;", "\xa0"), ("&amp;", "&")):
        text = text.replace(entity, character)
    result = json.loads(text)
    return result["height"], [Seen(**seen) for seen in result["seen"]]


def _cropped(png: bytes, height: int) -> bytes:
    """The upper part of a PNG: its rows refer to those above them only, so the lower ones can be left out."""
    chunks, at = [], 8
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        chunks.append((kind, png[at + 8 : at + 8 + length]))
        at += length + 12
    width, tall, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    row = 1 + width * depth * {2: 3, 6: 4}[colour] // 8
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))[: row * min(height, tall)]
    header = struct.pack(">II", width, min(height, tall)) + chunks[0][1][8:]
    kept = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in kept)
    return png[:8] + b"".join(packed)


def _chromium(folder: Path, *arguments: str) -> str:
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise RendererMissing("there is no Chromium; install it with: .ci/card-renderer")
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",  # the page is ours, and a container's root has no sandbox
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        "--virtual-time-budget=3000",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={_WIDTH},800",
        *arguments,
    ]
    environment = os.environ | {"TZ": "Europe/Lisbon"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    return done.stdout


def sample(event_type: str, language: str) -> dict[str, Any]:
    """The card of a sample event, with a drawing for its photo: the samples' photos are at no real address."""
    body = json.dumps(events.BY_NAME[event_type].sample()).encode()
    url = "https://glartek.example.com/{id}"
    look = Look(LANGUAGES[language], action_url=url, work_order_url=url)
    message = card.build(parse(body, load(Settings, redis_url="redis://not-used")), look)
    content: dict[str, Any] = message["attachments"][0]["content"]
    for element in content["body"]:
        if element["type"] == "Image":
            element["url"] = _PHOTO
    return content


def main(
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")] = Path("docs/cards"),
    language: Annotated[str, typer.Option(help=f"One of {', '.join(LANGUAGES)}.")] = "pt",
    event_type: Annotated[list[str] | None, typer.Option("--type", help="Only this event type; repeatable.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For a program to read.")] = False,
) -> None:
    """Draw the sample events' cards, light and dark."""
    types = event_type or list(events.BY_NAME)
    if unknown := [name for name in types if name not in events.BY_NAME]:
        raise typer.BadParameter(f"no event type {unknown[0]!r}; expected one of {', '.join(events.BY_NAME)}")
    if language not in LANGUAGES:
        raise typer.BadParameter(f"expected one of {', '.join(LANGUAGES)}", param_hint="--language")
    wanted = [(name, theme, out / f"{name}.{theme}.png") for name in types for theme in ("light", "dark")]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, theme, file in track(wanted, "drawing", console=Console(stderr=True), transient=True):
            draw([sample(name, language)], theme, file)
    except (RendererMissing, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    files = [str(file) for _, _, file in wanted]
    typer.echo(to_json(files, indent=None) if as_json else "\n".join(map(visible, files)))


if __name__ == "__main__":
    typer.run(main)
