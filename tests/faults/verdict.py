"""The numbers of a run, and whether the promises held."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.cluster import Cluster
from tests.faults.ledger import STATES, Evidence, account, disagreements, repeats
from tests.faults.load import Answers

SLOWEST = 1.5
"""Most seconds for an answer."""


@dataclass(frozen=True)
class Verdict:
    """The numbers in the order of printing, `broken` promises, and `details` about them."""

    numbers: dict[str, int | float | str]
    broken: list[str] = field(default_factory=list)
    details: dict[str, list[str]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.broken


def judge(evidence: Evidence, answers: Answers, cluster: Cluster, drained_after: float | None) -> Verdict:
    """The verdict on any run; `drained_after` is in seconds, None if work was left."""
    owed, again = account(evidence), repeats(evidence)
    by_itself = [end for member in cluster.members for end in member.ended_by_itself]
    numbers: dict[str, int | float | str] = {
        "acknowledged": len(answers.acknowledged),
        "unique": answers.unique,
        "duplicates sent": answers.duplicates,
        "handler runs owed": len(answers.acknowledged) * len(evidence.handlers),
        "done": len(owed.done),
        "skipped": len(owed.skipped),
        "dead": len(owed.dead),
        "open": len(owed.open),
        "lost": len(owed.lost),
        "run again, a kill interrupted it": len(again.explained),
        "run again, unexplained": len(again.unexplained),
        "answers": answers.statuses.total(),
        "answers not 200": answers.not_200,
        "no answer, process killed": sum(answers.unanswered.values()),
        "slowest answer, s": round(answers.slowest, 3),
        "99 % of answers within, s": _percentile(answers.seconds, 0.99),
        "drained after, s": "not drained" if drained_after is None else round(drained_after, 1),
        "processes that ended by themselves": len(by_itself),
        "dead, but no handler gave up": len(owed.dead_for_no_reason),
    }
    promises = {
        "nothing acknowledged is lost": not owed.lost,
        "nothing is left open": not owed.open and drained_after is not None,
        "every answer is a 200": not answers.not_200,
        f"no answer takes {SLOWEST} s": answers.slowest < SLOWEST,
        "no handler runs twice without a kill": not again.unexplained,
        "no process ends by itself": not by_itself,
        "nothing dies that did not give up": not owed.dead_for_no_reason,
    }
    details = {
        "lost": [" ".join(pair) for pair in sorted(owed.lost)],
        "open": [" ".join(pair) for pair in sorted(owed.open)],
        "unexplained": again.unexplained,
        "ended by itself": by_itself,
        "dead for no reason": [" ".join(pair) for pair in sorted(owed.dead_for_no_reason)],
        "answers": [f"{status}: {count}" for status, count in sorted(answers.statuses.items())]
        + [f"{name}: {count}" for name, count in sorted(answers.unanswered.items())],
    }
    return Verdict(numbers, [name for name, held in promises.items() if not held], details)


def judge_kit(evidence: Evidence, answers: Answers, cluster: Cluster, drained_after: float | None) -> Verdict:
    """The verdict on the kit: as `judge`, and the kit's own ledger has to agree with the handlers' journals."""
    verdict = judge(evidence, answers, cluster, drained_after)
    books, lines = evidence.books, disagreements(evidence)
    for handler in evidence.handlers:
        states = (books.total(handler, state) for state in STATES)
        verdict.numbers[f"Redis: {handler} {' + '.join(STATES)}"] = " + ".join(map(str, states))
    verdict.numbers["Redis: accepted, unique"] = books.counts.get("accepted", 0)
    verdict.numbers["Redis: duplicates dropped"] = books.counts.get("duplicates", 0)
    verdict.numbers["both ledgers agree"] = "no" if lines else "yes"
    others = list(evidence.other_sides)
    verdict.numbers["external system and audit log hold it"] = "no" if others else "yes"
    broken = [
        *verdict.broken,
        *(["both ledgers agree"] if lines else []),
        *(["external system and audit log hold it"] if others else []),
    ]
    return Verdict(verdict.numbers, broken, verdict.details | {"disagreement": lines, "other sides": others})


def _percentile(seconds: Sequence[float], share: float) -> float:
    return round(sorted(seconds)[int(len(seconds) * share)], 3) if seconds else 0.0
