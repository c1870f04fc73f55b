"""The live list of `listen` on a terminal: the requests, their bodies, and a key to send one again."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from examples.sender.http.arrivals import Arrival
from examples.sender.http.reply import Reply
from examples.sender.play.edits import pretty
from receiver.visible import visible

_KEYS = {
    b"\x1b[A": "k",
    b"\x1b[B": "j",
    b"\x1b[D": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "back",
    b"\x08": "back",
}
_HELP = "j/k move · g/G first, last · Enter body · r send again · f filter · q quit"
_BESIDE = 6  # lines of the screen that show no request
_COLOURS = {"2": "green", "3": "yellow", "4": "bold red", "5": "bold red"}


class Seen(Protocol):
    """A request, as it is shown."""

    arrival: Arrival
    reply: Reply | None
    is_again: bool

    @property
    def status(self) -> str: ...
    @property
    def seconds(self) -> float: ...


class Source(Protocol):
    """The requests, and the function that sends one again."""

    changed: asyncio.Event

    @property
    def seen(self) -> Sequence[Seen]: ...
    @property
    def send_again(self) -> Callable[..., str]: ...


class Live:
    """State and keys of the list; `run` draws it until the user quits."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.chosen = 0
        self.follows = True
        """Whether the selection stays on the newest request."""
        self.is_open = False
        self.scrolled = 0
        self.filter = ""
        self.is_typing = False
        self.said = ""
        self.is_over = False

    @property
    def rows(self) -> list[Seen]:
        """The requests whose type, id or status contains the filter's text, in any case."""
        wanted = self.filter.casefold()
        listed = self.source.seen
        return [one for one in listed if wanted in f"{one.arrival.type} {one.arrival.id} {one.status}".casefold()]

    def press(self, key: str) -> None:
        """Handle a key; while the filter is edited, all keys but Enter, Escape and Backspace are text."""
        self.said = ""
        if self.is_typing:
            self._type(key)
        elif self.is_open and key in {"enter", "escape", "q"}:
            self.is_open, self.scrolled = False, 0
        elif self.is_open and key in {"j", "k"}:
            self.scrolled = max(self.scrolled + (1 if key == "j" else -1), 0)
        elif key == "r" and self.rows:
            self.said = self.source.send_again(self.rows[self.chosen])
        else:
            self._move(key)

    def _type(self, key: str) -> None:
        if key in {"enter", "escape"}:
            self.is_typing = False
            self.filter = self.filter if key == "enter" else ""
        else:
            self.filter = self.filter[:-1] if key == "back" else self.filter + key
        self._clamp()

    def _move(self, key: str) -> None:
        match key:
            case "q":
                self.is_over = True
            case "f":
                self.is_typing, self.filter = True, ""
            case "enter":
                self.is_open = bool(self.rows)
            case "escape":
                self.filter = ""
            case "j" | "k" | "g" | "G":
                last = len(self.rows) - 1
                self.chosen = {"j": self.chosen + 1, "k": self.chosen - 1, "g": 0, "G": last}[key]
                self.follows = self.chosen >= last
        self._clamp()

    def _clamp(self) -> None:
        last = len(self.rows) - 1
        self.chosen = max(min(last if self.follows else self.chosen, last), 0)

    async def run(self, url: str, stop: asyncio.Event) -> None:
        """Draw after each change, until `q` is pressed or `stop` is set."""
        console = Console()
        with _keys(self.source.changed, self.press), Screen(console=console, screen=True, auto_refresh=False) as screen:
            while not stop.is_set() and not self.is_over:
                self._clamp()
                screen.update(self.drawn(url, console.size.height), refresh=True)
                self.source.changed.clear()
                waits = [asyncio.ensure_future(event.wait()) for event in (self.source.changed, stop)]
                await asyncio.wait(waits, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()

    def drawn(self, url: str, height: int) -> Group:
        """The screen's content for `height` lines."""
        room = max(height - _BESIDE, 1)
        head = Text(f"{url}  ", style="bold").append(f"{len(self.source.seen)} requests", style="dim")
        rows = self.rows
        if self.is_open and rows:
            lines = _opened(rows[min(self.chosen, len(rows) - 1)])
            self.scrolled = max(min(self.scrolled, len(lines) - room), 0)
            shown = "\n".join(lines[self.scrolled : self.scrolled + room])
            return Group(head, Text(shown), Text("j/k scroll · Enter, Esc back · Ctrl-C quit", style="dim"))
        foot = (
            f"filter: {visible(self.filter)}{'▏' if self.is_typing else ''}  " if self.filter or self.is_typing else ""
        )
        return Group(head, self._table(rows, room), Text(self.said, style="yellow"), Text(foot + _HELP, style="dim"))

    def _table(self, rows: Sequence[Seen], room: int) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("", "TIME", "TYPE", "ID", "STATUS", "TOOK"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        first = max(min(self.chosen - room // 2, len(rows) - room), 0)
        for number, one in enumerate(rows[first : first + room], first):
            mark = "▶" if number == self.chosen else "↻" if one.is_again else " "
            at: datetime = one.arrival.at.astimezone()
            status = Text(
                visible(one.status), style=_COLOURS.get(one.status[:1], "") if one.status.isdecimal() else "yellow"
            )
            cells = (mark, f"{at:%H:%M:%S}", visible(one.arrival.type), visible(one.arrival.id or ""))
            style = "reverse" if number == self.chosen else ""
            table.add_row(*map(Text, cells), status, Text(f"{one.seconds * 1000:.0f} ms"), style=style)
        return table


def _opened(one: Seen) -> list[str]:
    """A request as lines of text: request line, headers, body and answer."""
    arrival, reply = one.arrival, one.reply
    lines = [f"{arrival.method} {arrival.target}", *(f"{name}: {value}" for name, value in arrival.sent_headers), ""]
    lines += pretty(arrival.content).decode("utf-8", "replace").split("\n")
    if reply:
        lines += ["", f"answered {one.status} in {reply.seconds * 1000:.0f} ms"]
        lines += reply.body.decode("utf-8", "replace").split("\n")
    return [visible(line) for line in lines]


@contextmanager
def _keys(changed: asyncio.Event, press: Callable[[str], None]) -> Iterator[None]:
    """Read single keys from the terminal without echo; restores its mode at the end."""
    import termios  # noqa: PLC0415 - POSIX only; the rest of the sender runs on other systems too
    import tty  # noqa: PLC0415

    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    loop = asyncio.get_running_loop()

    def read() -> None:
        data = os.read(file, 1024)
        keys = [_KEYS[data]] if data in _KEYS else ["escape"] if data.startswith(b"\x1b") else None
        for key in keys or [_KEYS.get(letter.encode(), letter) for letter in data.decode("utf-8", "ignore")]:
            press(key)
        changed.set()

    tty.setcbreak(file)
    loop.add_reader(file, read)
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
