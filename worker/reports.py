"""How the commands print deliveries: one with its handlers, what happens now, what a handler would do, the status."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from receiver.visible import to_json, visible, visible_lines
from worker import ids
from worker.tables import cells, local_time, new_table
from worker.waiting import in_words

_LONGEST = 4000  # characters of a line about a request


def print_story(story: Mapping[str, Any], *, trace: bool) -> None:
    """A delivery and its handlers; with `trace` the lines on the way to where each failed."""
    console = Console(emoji=False)
    for name in ("delivery", "key", "source", "type", "sha256", "first_seen", "duplicates", "conflicts"):
        console.print(f"{name:<12} {visible(str(story[name]))}", markup=False, highlight=False)
    if story["spooled_until"]:
        console.print(
            f"{'spooled':<12} on a receiver's disk until {story['spooled_until']}", markup=False, highlight=False
        )
    kept = "kept for replay" if story["payload_kept"] else "waits with its work" if story["open"] else "no longer kept"
    console.print(f"{'payload':<12} {kept}", markup=False)
    table = new_table("handler", "state", "attempts", "at", "last failure")
    for handler, told in story["handlers"].items():
        state = f"skipped: {told['skipped']}" if told["state"] == "skipped" else told["state"]
        state = in_words(told["waits"]) if told["waits"] else state
        when = local_time(datetime.fromisoformat(told["at"]))
        table.add_row(*cells(handler, state, told["attempts"], when), _last_failure(told))
    console.print(table)
    for handler, told in story["handlers"].items():
        if trace and told["trace"]:
            typer.echo(f"\n{visible(handler)} failed at, the innermost line last:\n{visible_lines(told['trace'])}")


def _last_failure(told: dict[str, Any]) -> Text:
    """Why, and at which line of the customer's."""
    lines = [told["failures"][-1]["error"]] if told["failures"] else []
    if told["failed_at"]:
        lines.append(f"at {told['failed_at']}")
    return Text("\n".join(map(visible, lines)))


def tail_line(line: Mapping[str, Any]) -> str:
    """One line of `worker tail`."""
    at = datetime.fromisoformat(line["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
    about = [line["delivery"][: ids.SHORT], f"{line['what']:<9}", line["type"]]
    if "handler" in line:
        about.append(f"{line['handler']} attempt {line['attempt']} after {line['ms']} ms")
    about += [line[name] for name in ("key", "reason") if line.get(name)]
    if "count" in line:
        about.append(f"{line['count']} so far")
    return visible("  ".join([at, *about]), 1000)


def print_tried(told: Sequence[dict[str, Any]]) -> None:
    """What a handler would have done to each event."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    for one in told:
        at = f" (at {one['at']})" if one["at"] else ""
        console.print(visible(f"{one['delivery'][:8]}  {one['type']}: {one['state']}  {one['reason']}{at}", _LONGEST))
        for request in one["requests"]:
            console.print(visible(f"          {request['method']} {request['url']}", _LONGEST))
            console.print(visible(f"          {to_json(request['body'], None)}", _LONGEST))
    states = Counter(one["state"] for one in told)
    console.print(f"nothing was sent; {len(told)} events: {', '.join(f'{n} {state}' for state, n in states.items())}")


def print_status(told: Mapping[str, Any]) -> None:
    """Counts, recent deliveries, and what is tried again."""
    console = Console(emoji=False, highlight=False)
    now = ("waiting", "running", "dead", "spooled_here")
    console.print(", ".join(f"{told[name]} {name.replace('_', ' ')}" for name in now), markup=False)
    for kind, columns in _COUNTS.items():
        table = new_table(kind.removesuffix("s"), title="today (and in the last hour)")
        for column in columns:
            table.add_column(column, justify="right")
        for name, today in [*told["today"][kind].items(), ("all", told["today"])]:
            hour = told["last_hour"] if name == "all" else told["last_hour"][kind].get(name, {})
            table.add_row(*cells(name, *(f"{today[column]} ({hour.get(column, 0)})" for column in columns)))
        console.print(table)
    _print_rows(console, "accepted last", told["recent"], _recent_row, ("delivery", "type", "accepted", "handlers"))
    retrying = ("delivery", "handler", "tries", "next try", "reason")
    _print_rows(console, "tried again", told["retrying"], _retrying_row, retrying)


_COUNTS = {"types": ("accepted", "duplicates", "conflicts"), "handlers": ("done", "skipped", "retry", "dead")}


def _print_rows(
    console: Console,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    shown: Callable[[Mapping[str, Any]], tuple[object, ...]],
    columns: Sequence[str],
) -> None:
    if rows:
        table = new_table(*columns, title=title)
        for row in rows:
            table.add_row(*cells(*shown(row)))
        console.print(table)


def _recent_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    states = ", ".join(f"{name} {state}" for name, state in row["handlers"].items())
    when = local_time(datetime.fromisoformat(row["first_seen"]))
    return row["delivery"][: ids.SHORT], row["type"], when, states or ("waits" if row["open"] else "no handler")


def _retrying_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    where = f" (at {row['failed_at']})" if row["failed_at"] else ""
    when = f"in {row['in_s']} s"
    return row["delivery"][: ids.SHORT], row["handler"], row["attempts"], when, f"{row['reason']}{where}"
