"""How the commands print what they found, on a terminal of 80 columns, too: ids whole, hostile text harmless."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver.visible import to_json, visible, visible_lines
from worker import ids
from worker.letter import DeadLetter
from worker.waiting import in_words

PAYLOAD = 4000
"""Characters of a payload that `dead show` prints."""


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
    table = _table("handler", "state", "attempts", "at", "last failure")
    for handler, told in story["handlers"].items():
        state = f"skipped: {told['skipped']}" if told["state"] == "skipped" else told["state"]
        state = in_words(told["waits"]) if told["waits"] else state
        when = _time(datetime.fromisoformat(told["at"]))
        table.add_row(*_cells(handler, state, told["attempts"], when), _last_failure(told))
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


def print_letters(letters: Sequence[DeadLetter], known: Collection[str]) -> None:
    """Dead letters by the shortest ids that mean one of the `known` alone."""
    table = _table("id", "kind", "handler", "type", "tries", "at", "reason")
    for letter in letters:
        about = (letter.kind, letter.handler, letter.type, letter.tries, _time(letter.at), letter.reason)
        table.add_row(*_cells(ids.short(letter.id, known), *about))
    Console().print(table if letters else "no dead letters")


def print_letter(letter: DeadLetter, payload: str) -> None:
    """One dead letter, its payload cut."""
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
    for name, value in letter.summary().items():
        console.print(f"{name:<10} {visible(str(value))}")
    console.print(f"{'payload':<10} " + visible_lines(payload, PAYLOAD).replace("\n", f"\n{'':<10} "))
    if len(payload) > PAYLOAD:
        typer.echo(f"the payload is cut: {PAYLOAD} of {len(payload)} characters; --json or --raw for all", err=True)


def print_doubtful(found: Sequence[Mapping[str, Any]]) -> None:
    """Duplicates by content, each with the delivery that it was taken for."""
    table, known = _table("id", "delivery", "type", "at", "after", "times", "run as"), [one["id"] for one in found]
    for one in found:
        when = _time(datetime.fromisoformat(one["at"]))
        about = (one["delivery"][: ids.SHORT], one["type"], when, f"{one['after_s']:g} s", one["duplicates"])
        table.add_row(*_cells(ids.short(one["id"], known), *about, (one["run_as"] or "")[: ids.SHORT]))
    Console().print(table if found else "no duplicate was dropped by its content alone")


def print_gaps(told: Mapping[str, Any]) -> None:
    """What is missing before what."""
    table = _table("subject", "was", "at", "never seen")
    for one in told["gaps"]:
        when = _time(datetime.fromisoformat(one["at"]))
        table.add_row(*_cells(one["subject"], one["type"], when, ", ".join(one["never_seen"])))
    console = Console(emoji=False, highlight=False, soft_wrap=True)
    if told["remembered_since"] is None:
        console.print("nothing is remembered yet (REMEMBER_EVENTS)")
        return
    if told["gaps"]:
        Console(emoji=False).print(table)
    early = f", {told['too_early']} too early to tell" if told["too_early"] else ""
    console.print(f"gaps: {len(told['gaps'])} of {told['judged']}{early}; since {told['remembered_since']}")


def print_drift(told: Sequence[Mapping[str, Any]]) -> None:
    """What has changed, by type."""
    table = _table("type", "field", "", "at", "in", "example")
    for one in told:
        for change in ("appeared", "vanished"):
            for field in one[change]:
                when = _time(datetime.fromisoformat(field["at"]))
                share = f"{field['in']} of {field['of']}"
                table.add_row(*_cells(one["type"], field["path"], change, when, share, field["example"]))
    if table.row_count:
        Console(emoji=False).print(table)
    samples = sum(one["samples"] for one in told)
    typer.echo(f"{table.row_count} fields changed in {len(told)} types, by {samples} samples")


def print_groups(groups: Sequence[Mapping[str, Any]]) -> None:
    """What has failed, by handler and error."""
    table = _table("group", "count", "handler", "error", "first seen", "last seen")
    for one in groups:
        handler = one["handler"] or one["kind"]
        times = (_time(datetime.fromisoformat(one[name])) for name in ("first", "last"))
        noted = [f"{one['owner'] or one['by']}: {one['text']}"] if "text" in one else []
        error = Text("\n".join(map(visible, [one["error"], *noted])))
        group, count, handler, first, last = _cells(one["group"], one["count"], handler, *times)
        table.add_row(group, count, handler, error, first, last)
    Console(emoji=False).print(table if groups else "no dead letters")


def print_preview(rows: Sequence[Mapping[str, Any]]) -> None:
    """What a replay would run, and what of it may be a surprise."""
    console = Console(emoji=False, highlight=False)
    table = _table("handler", "runs", "types", "accepted from", "to")
    for row in rows:
        types = ", ".join(f"{name or '(none)'} {count}" for name, count in row["types"].items())
        times = (_time(datetime.fromisoformat(row[name])) for name in ("accepted_first", "accepted_last"))
        table.add_row(*_cells(row["handler"], row["count"], types, *times))
    console.print(table if rows else "no dead letters")
    for row in rows:
        for line in surprises(row):
            console.print(Text(visible(f"{row['handler']}: {line}")))


def surprises(row: Mapping[str, Any]) -> list[str]:
    """Warnings about a row of a preview: what an operator may not expect."""
    lines = []
    if row["out_of_order"]:
        after = "later events of the same Work Order or Action may have been handled already"
        lines.append(f"{row['out_of_order']} may run out of order: {after}")
    if row["elsewhere"]:
        lines.append(f"{row['elsewhere']} have their payload in a file of a receiver's host, which has to be up")
    if row["has_worker"] is False:
        lines.append("no worker that runs now has this handler: they would become dead letters again")
    return lines


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
        console.print(visible(f"{one['delivery'][:8]}  {one['type']}: {one['state']}  {one['reason']}{at}", PAYLOAD))
        for request in one["requests"]:
            console.print(visible(f"          {request['method']} {request['url']}", PAYLOAD))
            console.print(visible(f"          {to_json(request['body'], None)}", PAYLOAD))
    states = Counter(one["state"] for one in told)
    console.print(f"nothing was sent; {len(told)} events: {', '.join(f'{n} {state}' for state, n in states.items())}")


def print_status(told: Mapping[str, Any]) -> None:
    """Counts, recent deliveries, and what is tried again."""
    console = Console(emoji=False, highlight=False)
    now = ("waiting", "running", "dead", "spooled_here")
    console.print(", ".join(f"{told[name]} {name.replace('_', ' ')}" for name in now), markup=False)
    for kind, columns in _COUNTS.items():
        table = Table(kind.removesuffix("s"), title="today (and in the last hour)", title_justify="left")
        for column in columns:
            table.add_column(column, justify="right")
        for name, today in [*told["today"][kind].items(), ("all", told["today"])]:
            hour = told["last_hour"] if name == "all" else told["last_hour"][kind].get(name, {})
            table.add_row(*_cells(name, *(f"{today[column]} ({hour.get(column, 0)})" for column in columns)))
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
        table = _table(*columns, title=title)
        for row in rows:
            table.add_row(*_cells(*shown(row)))
        console.print(table)


def _recent_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    states = ", ".join(f"{name} {state}" for name, state in row["handlers"].items())
    when = _time(datetime.fromisoformat(row["first_seen"]))
    return row["delivery"][: ids.SHORT], row["type"], when, states or ("waits" if row["open"] else "no handler")


def _retrying_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    where = f" (at {row['failed_at']})" if row["failed_at"] else ""
    when = f"in {row['in_s']} s"
    return row["delivery"][: ids.SHORT], row["handler"], row["attempts"], when, f"{row['reason']}{where}"


def _time(at: datetime) -> str:
    """A time in this machine's zone, to the second; JSON has it in full."""
    return at.astimezone().strftime("%m-%d %H:%M:%S")


def _table(first: str, *columns: str, title: str | None = None) -> Table:
    """A table whose first column, an id, is always whole."""
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cells(*values: object) -> list[Text]:
    """Texts for a row of a table."""
    return [Text(visible(str(value))) for value in values]
