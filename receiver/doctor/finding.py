"""The result of one check of `doctor`."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "unsafe"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `mend` says what to do; it is empty for `ok`."""

    check: str
    level: Level
    seen: str
    mend: str = ""
