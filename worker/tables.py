"""Tables that commands print, for a terminal of 80 columns, too: ids are never cut, control characters are escaped."""

from datetime import datetime

from rich.table import Table
from rich.text import Text

from receiver.visible import visible


def local_time(at: datetime) -> str:
    """A time in this machine's zone, to the second; JSON has it in full."""
    return at.astimezone().strftime("%m-%d %H:%M:%S")


_IDS = {"id", "delivery", "group"}


def new_table(first: str, *columns: str, title: str | None = None) -> Table:
    """A table whose first column is whole where it is an id, to be copied; any other leaves room for the rest."""
    table = Table(title=title, title_justify="left")
    table.add_column(first, no_wrap=first in _IDS, overflow="fold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def cells(*values: object) -> list[Text]:
    """Texts for a row of a table."""
    return [Text(visible(str(value))) for value in values]
