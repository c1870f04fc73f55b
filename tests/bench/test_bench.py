"""The harness's own logic: arithmetic and rendering. Nothing is timed here."""

import inspect
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from receiver.idempotency import IdempotencyRule
from receiver.intake import Intake
from tests.bench import chart, contenders, counting, load
from tests.bench.book import Book, percentile
from tests.bench.processes import BenchError
from tests.bench.report import Report, lines, markdown, show, with_section, write_page
from tests.bench.targets import ROWS, UNITS, WITH_ANOTHER_PYTHON, Row, series_row
from worker import job
from worker.recorder import Recorder
from worker.run import DeliveryRun

FASTER = Row("faster", "a/s · us", "a/s · them", least=1.5)


def noted(**series: list[float]) -> Book:
    return Book({name.replace("_", "/s · "): values for name, values in series.items()})


def test_a_ratio_is_taken_within_each_round() -> None:
    """Noise that both contenders of a round share cancels out."""
    book = noted(a_us=[20.0, 4.0, 10.0], a_them=[10.0, 2.0, 5.0])
    assert FASTER.values(book) == [2.0, 2.0, 2.0]


def test_a_row_without_values_is_neither_reached_nor_missed() -> None:
    """What was not measured has no verdict, and a series without its partner no ratio."""
    assert FASTER.reached(noted(a_us=[1.0])) is None


@pytest.mark.parametrize(("them", "reached"), [(1.0, True), (2.0, True), (2.1, False)])
def test_a_least_includes_its_limit(them: float, reached: bool) -> None:  # noqa: FBT001 - the expectation
    """A target `at least` is reached by the very value."""
    assert FASTER.reached(noted(a_us=[3.0], a_them=[them])) is reached


@pytest.mark.parametrize(("value", "reached"), [(9.9, True), (10.0, False)])
def test_a_most_excludes_its_limit(value: float, reached: bool) -> None:  # noqa: FBT001 - the expectation
    """A target `under` is missed by the very value."""
    assert Row("wait", "p99", unit="ms", most=10).reached(Book({"p99": [value]})) is reached


def test_the_verdict_goes_by_the_median() -> None:
    """One bad round does not decide, nor does one good one."""
    assert FASTER.reached(noted(a_us=[3.0, 3.0, 0.1], a_them=[1.0, 1.0, 1.0])) is True


def test_a_miss_that_rounding_hides_is_told_in_more_digits() -> None:
    """`1.50`, at least `1.50`, missed: nobody would understand it."""
    [line] = lines([FASTER], noted(a_us=[1.497], a_them=[1.0]))
    assert line[1:] == ("1.50 (1.497)", "", "at least 1.50", "no")


def test_a_percentile_of_few_values_is_one_of_them() -> None:
    """No interpolation: a percentile is a wait that somebody had."""
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.5, 0.99, 1.0)] == [2.0, 3.0, 3.0]


def test_what_is_timed_is_what_counts() -> None:
    """The statements whose cost is measured are those of the receiver and of the worker, and there are no others."""
    kit = (Intake.accept_all, job.deliver, DeliveryRun._run, Recorder._observe)
    measured = (counting.receiver, counting.worker)
    assert counts(*kit) == counts(*measured) != []


def counts(*functions: Callable[..., Any]) -> list[str]:
    """The lines of functions that count."""
    lines = [line.strip() for function in functions for line in inspect.getsource(function).splitlines()]
    return [line for line in lines if "tally." in line]


def test_counting_is_timed_without_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is of one event, in nanoseconds, and less that of a call that does nothing."""
    spent = [0]

    def takes(nanoseconds: int) -> Callable[[object], None]:
        return lambda _: spent.append(spent[-1] + nanoseconds)

    monkeypatch.setattr("tests.bench.counting.time.thread_time_ns", lambda: spent[-1])
    monkeypatch.setattr(counting, "_nothing", takes(40))
    assert counting.cost(takes(500), 1000) == 460


def test_every_series_that_a_row_needs_has_a_unit() -> None:
    """Each series of the table can be shown by itself."""
    names = {name for row in ROWS for name in (row.of, row.against) if name}
    assert {name.partition(" · ")[0] for name in names} <= {*UNITS}
    assert all(series_row(name).shown(1.0) for name in names)


def everything() -> Report:
    """A run that has a value for every row."""
    names = {name for row in ROWS for name in (row.of, row.against) if name}
    return Report(Book({name: [1.0, 2.0] for name in names}), {"cores": "2"})


def test_the_page_holds_every_row_and_keeps_the_rest(tmp_path: Path) -> None:
    """Only what stands between the markers is replaced, and twice is like once."""
    page = tmp_path / "README.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n", encoding="utf-8")
    write_page(everything(), page)
    once = page.read_text(encoding="utf-8")
    write_page(everything(), page)
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    assert all(row.title in once for row in ROWS)


def test_another_python_stands_beside_this_one() -> None:
    """Its rows name both versions, and hold the figures of each and their ratio within a round."""
    shown = [*lines(with_another_python("3.14.0").pythons(), with_another_python("3.14.0").book)]
    assert [line[:2] for line in shown[:3]] == [
        ("accepted and stored per second, Python 3.11.7", "150/s"),
        ("accepted and stored per second, Python 3.14.0", "300/s"),
        ("accepted and stored per second, 3.14.0 against 3.11.7", "2.00"),
    ]
    assert len(shown) == 3 * len(WITH_ANOTHER_PYTHON)


def test_a_page_keeps_the_other_python_until_a_run_has_one(tmp_path: Path) -> None:
    """A run with this Python alone replaces the figures only; the next one with another Python replaces both."""
    page = tmp_path / "README.md"
    page.write_text("<!-- figures -->\n<!-- /figures -->\n<!-- pythons -->\n<!-- /pythons -->\n", encoding="utf-8")
    write_page(with_another_python("3.14.0"), page)
    write_page(everything(), page)
    kept = page.read_text(encoding="utf-8")
    assert "taken: then" in kept
    assert "3.14.0 against 3.11.7" in kept
    assert "kit, everysec, Python 3.14.0" not in kept  # the series were those of the run before
    write_page(with_another_python("3.15.0"), page)
    assert "3.14.0" not in page.read_text(encoding="utf-8")


def test_the_page_has_the_sections_that_are_written() -> None:
    """Both sections can be written: their markers are on the page."""
    text = (Path(__file__).with_name("README.md")).read_text(encoding="utf-8")
    assert all(with_section(text, name, "new") != text for name in ("figures", "pythons"))


def with_another_python(version: str) -> Report:
    """A run in which another Python does everything twice as often, or with twice the CPU."""
    series = {name: [100.0, 200.0] for _, name in WITH_ANOTHER_PYTHON}
    others = {contenders.named_with(name, version): [200.0, 400.0] for name in series}
    return Report(Book(series | others), {"taken": "then", "Python": "3.11.7", "other Python": version})


def test_an_interpreter_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the folder that the bench was started in, though its processes start in others."""
    script = tmp_path / "python-new"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert contenders.python_at("./python-new") == contenders.Python(str(script), platform.python_version())


def test_an_interpreter_that_is_not_there_is_one_line() -> None:
    """It is said before anything is measured."""
    with pytest.raises(BenchError, match="--python /nowhere/python: there is no such program"):
        contenders.python_at("/nowhere/python")


def test_a_section_that_is_not_there_is_not_invented() -> None:
    """A page without the markers stays as it is."""
    assert with_section("text", "figures", "content") == "text"


def test_a_report_survives_its_json() -> None:
    """`figures.json` is enough to write the page again."""
    report = everything()
    again = Report.from_dict(json.loads(json.dumps(report.as_dict())))
    assert markdown(again) == markdown(report)


def test_a_pipe_gets_one_line_for_each_row() -> None:
    """No table and no escape codes where nobody looks."""
    console = Console(width=60, force_terminal=False)
    with console.capture() as printed:
        show(everything(), console)
    lines = printed.get().splitlines()
    assert sum(line.startswith(ROWS[0].title) for line in lines) == 1
    assert "\x1b" not in printed.get()


def test_the_chart_has_a_bar_for_each_that_was_measured() -> None:
    """A contender that was not there has no bar, and the longest bar ends inside the picture."""
    drawn = chart.draw(Book({"accepts/s · kit, everysec": [100.0], "accepts/s · bare endpoint": [200.0]}))
    assert drawn.count("<rect") == 2
    assert f'width="{chart.WIDTH - chart.LEFT - chart.RIGHT:.1f}"' in drawn


def test_bodies_have_their_size_and_an_id() -> None:
    """What is sent is JSON of exactly so many bytes, and the kit knows it by its event id."""
    sources = IdempotencyRule(("event-id", "body"))
    for size in (1024, 1024 * 1024):
        body = load.body(load.stamp(), 7, size)
        assert len(body) == size
        assert sources.delivery({}, body, 0).source == "event-id"
