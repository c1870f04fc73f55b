"""What `doctor` finds unsafe at a running receiver, looked for every ten minutes (ALERTS_DOCTOR)."""

import asyncio

from receiver.doctor import report
from receiver.doctor.finding import Finding
from receiver.settings import ReceiverSettings

OTHERS = {"redis", "memory", "workers", "damaged spool"}
"""Checks whose trouble is an alert of its own."""
FIRST = 30.0
"""Seconds after the start: by then workers and replicas that started with it are there."""


class Unsafe:
    """`found` is what a receiver reports of itself."""

    def __init__(self, settings: ReceiverSettings, every: float) -> None:
        self._settings, self._every = settings, every
        self.found: list[dict[str, str]] = []

    async def run(self) -> None:
        """Look until cancelled, in a thread with its own event loop: counting a large spool would stop this one."""
        await asyncio.sleep(min(FIRST, self._every))
        while True:
            findings = await asyncio.to_thread(lambda: asyncio.run(report(self._settings)))
            self.found = [_told(one) for one in findings if one.level == "unsafe" and one.check not in OTHERS]
            await asyncio.sleep(self._every)


def _told(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "seen": finding.seen, "mend": finding.mend}
