"""What one of `doctor`'s checks saw."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "unsafe"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `mend` says what to do and is empty where all is well."""

    check: str
    level: Level
    seen: str
    mend: str = ""
