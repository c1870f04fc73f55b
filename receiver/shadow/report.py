"""What candidates for the idempotency key would have done, and which of them is safe."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from receiver.visible import iso

KINDS = ("dropped", "held", "twice", "told apart")
"""What a candidate would have done otherwise:

- `dropped`: an event that the enforced key took for a new one, as a duplicate;
- `held`: the same, as a conflict, because its key was another event's and its content is another;
- `twice`: a duplicate that the enforced key saw would have been handled again;
- `told apart`: other content under the enforced key would have been an event of its own.
"""
LEAST = 100
"""Deliveries before anything is called safe."""


def report(fields: Mapping[str, str]) -> dict[str, Any]:
    """All of it from the hash in Redis, as `--json` has it; {} where nothing was compared yet."""
    if "of" not in fields:
        return {}
    of = json.loads(fields["of"])
    seen, repeated = (int(fields.get(name, 0)) for name in ("seen", "repeated"))
    return {
        "since": iso(int(fields["since"])),
        "enforced": of["enforced"],
        "seen": seen,
        "duplicates": repeated,
        "skipped": int(fields.get("skipped", 0)),
        "candidates": [
            _candidate(fields, number, word, of["enforced"]) for number, word in enumerate(of["candidates"], 1)
        ],
    }


def _candidate(fields: Mapping[str, str], number: int, word: str, enforced: Sequence[str]) -> dict[str, Any]:
    counts = {kind: int(fields.get(f"{number} {kind}", 0)) for kind in ("missing", *KINDS)}
    examples = {kind: _examples(fields, f"{number} {kind} example ") for kind in KINDS}
    others = sorted({name for kind in ("dropped", "held") for one in examples[kind] for name in one["other"]})
    verdict, reason = judge(int(fields.get("seen", 0)), int(fields.get("repeated", 0)), counts, others)
    sources = [word, *(other for other in enforced if other != word)]
    return {
        "source": word,
        **{kind.replace(" ", "_"): count for kind, count in counts.items()},
        "verdict": verdict,
        "reason": reason,
        "promote": f"IDEMPOTENCY_SOURCES={','.join(sources)}",
        "examples": {kind: found for kind, found in examples.items() if found},
    }


def _examples(fields: Mapping[str, str], beginning: str) -> list[Mapping[str, Any]]:
    found = sorted(name for name in fields if name.startswith(beginning))
    examples = [json.loads(fields[name]) for name in found]
    return [{**one, "at": iso(one.pop("at_ms"))} for one in examples]


def judge(seen: int, duplicates: int, counts: Mapping[str, int], others: Sequence[str]) -> tuple[str, str]:
    """(verdict, reason) for one candidate: safe, look, unsafe or unproven.

    `others` is what events that it takes for one say otherwise.
    """
    missing, twice, lost = counts["missing"], counts["twice"], counts["dropped"] + counts["held"]
    rules = (
        (others, "unsafe", f"takes different events for one: they differ in {' and '.join(others)}"),
        (twice, "unsafe", f"duplicates that would have been handled again: {twice}"),
        (lost, "look", f"{lost} that were handled would not have been: are the differences those of a retry?"),
        (missing == seen, "unproven", "no delivery had it"),
        (seen < LEAST, "unproven", f"{seen} deliveries are too few: {LEAST} at least"),
        (not duplicates, "unproven", "no duplicate has arrived yet"),
        (missing, "safe", f"with another source behind it: {missing} of {seen} had none"),
        (True, "safe", "takes nothing for one that the enforced key does not, and every delivery had it"),
    )
    return next((verdict, reason) for holds, verdict, reason in rules if holds)
