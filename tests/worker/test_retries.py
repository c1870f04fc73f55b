"""Which failure, which wait: decided without a clock and without a network."""

import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import GiveUp, RetryLater
from worker.retries import Again, Dead, Policy, decide

POLICY = Policy(base=2, cap=60, max_tries=5, max_age=1000)


class Wordless(GiveUp):
    def __init__(self) -> None:
        pass


class Timeless(RetryLater):
    def __init__(self) -> None:
        pass


def after(error: BaseException, tries: int = 0, age: float = 0, policy: Policy = POLICY) -> Again | Dead:
    return decide(error, tries, age, policy, random.Random(1))


@pytest.mark.parametrize(
    ("error", "tries", "age", "then", "reason"),
    [
        (OSError("away"), 0, 0, Again, "OSError: away"),
        (OSError("away"), 3, 0, Again, "OSError: away"),
        (OSError("away"), 4, 0, Dead, "OSError: away; all 5 tries used up"),
        (OSError("away"), 0, 1000, Dead, "older than its budget of 1000 s"),
        (OSError(), 0, 0, Again, "OSError"),
        (GiveUp("not ours"), 0, 0, Dead, "not ours"),
        (RetryLater(30, "429"), 4, 0, Again, "429"),
        (RetryLater(30, "429"), 999, 0, Again, "429"),
        (RetryLater(30, "429"), 0, 980, Dead, "429; older than its budget of 1000 s"),
        (RetryLater(float("inf"), "never"), 0, 0, Dead, "older than its budget"),
        (RetryLater(30), 4, 0, Again, ""),
        (RetryLater(30), 0, 980, Dead, "it waited its turn; older than its budget of 1000 s"),
        (TimeoutError(), 0, 0, Again, "TimeoutError"),
        (KeyboardInterrupt(), 4, 0, Dead, "KeyboardInterrupt; all 5 tries used up"),
        (Wordless(), 0, 0, Dead, "Wordless"),
        (Timeless(), 4, 0, Dead, "Timeless; all 5 tries used up"),
    ],
)
def test_what_follows_from_a_failure(
    error: BaseException, tries: int, age: float, then: type[Again | Dead], reason: str
) -> None:
    """Tries and age are budgets; what the handler says goes before them, save age."""
    decision = after(error, tries, age)
    assert isinstance(decision, then)
    assert reason in decision.reason


@pytest.mark.parametrize("seconds", [0.0, 0.5, 900.0, -5.0])
def test_retry_later_waits_as_long_as_it_says_and_uses_no_try(seconds: float) -> None:
    """The target knows best; a negative wait is none."""
    decision = after(RetryLater(seconds, "busy"), tries=2)
    assert isinstance(decision, Again)
    assert decision.wait == max(0, seconds)
    assert decision.tries == 2


def test_a_wait_that_is_no_number_is_none() -> None:
    """A Retry-After that was computed to NaN does not end in a job that is never due."""
    decision = after(RetryLater(float("nan"), "busy"))
    assert isinstance(decision, Again)
    assert decision.wait == 0


@given(
    tries=st.integers(0, 10_000),
    age=st.floats(0, 1e9),
    base=st.floats(0.001, 1e6),
    cap=st.floats(0.001, 1e6),
    max_tries=st.integers(1, 10_000),
    max_age=st.floats(0.001, 1e9),
)
def test_a_wait_is_within_its_bounds(
    tries: int, age: float, base: float, cap: float, max_tries: int, max_age: float
) -> None:
    """Never negative, never over the cap nor the exponential, never past the budgets."""
    decision = decide(OSError("away"), tries, age, Policy(base, cap, max_tries, max_age), random.Random(tries))
    if isinstance(decision, Again):
        assert 0 <= decision.wait <= min(cap, base * 2 ** min(tries, 100)) * 1.000001
        assert decision.tries == tries + 1 < max_tries
        assert age + decision.wait <= max_age
    else:
        assert tries + 1 >= max_tries or age + min(cap, base * 2.0 ** min(tries, 100)) > max_age


def test_waits_grow_and_spread() -> None:
    """Full jitter: handlers that failed together come back apart, later with every try."""
    rng, policy = random.Random(7), Policy(base=2, cap=10_000, max_tries=100, max_age=1e9)

    def waits(tries: int) -> list[float]:
        decisions = [decide(OSError(), tries, 0, policy, rng) for _ in range(300)]
        return [decision.wait for decision in decisions if isinstance(decision, Again)]

    assert len(set(waits(3))) == 300
    assert sum(waits(0)) < sum(waits(3)) < sum(waits(6))
    assert min(waits(3)) < 2
    assert max(waits(3)) > 14


def test_a_wait_may_be_any_number() -> None:
    """A Decimal or an int is a wait like a float; what is no number is the handler's mistake, where it says so."""
    for seconds in (Decimal(30), 30, Fraction(30)):
        assert after(RetryLater(seconds, "busy")) == Again(30.0, 0, "busy")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        RetryLater(timedelta(seconds=30), "busy")  # type: ignore[arg-type]
