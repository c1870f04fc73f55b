"""Hides the values that AUDIT_MASK names: replaces them in the parsed payload, then parses the event again.

So no hidden value reaches a column, a hash or the stored payload, which is the masked text instead of the received one.
"""

import json
from collections.abc import Iterable

from worker import Event, Settings, masked, parse


def hidden(event: Event, paths: Iterable[str], settings: Settings) -> Event:
    """The event as if it had been received with `***` at the paths."""
    shown = masked(event.payload, paths, settings.where)
    text = json.dumps(shown, ensure_ascii=False)  # the depth of an event is limited
    return parse(text.encode("utf-8", "backslashreplace"), settings)  # JSON has the same escape for a lone surrogate
