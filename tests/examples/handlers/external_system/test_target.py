"""What a target's module says it with, and what stops the start when it is wrong."""

import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.handlers.external_system.settings import SHIPPED
from examples.handlers.external_system.target import Unmappable, at, cut, url
from receiver.environment import SettingsError

if TYPE_CHECKING:
    from tests.examples.handlers.external_system.conftest import Configure

URL = "https://erp.example.com"
OWN = """\
from examples.handlers.external_system.target import Json, Session, Target, bearer, url


def body(event, order):
    return {"x": event.id}


async def update(order, body, session):
    await session.call("POST", url("/o"), body)


TARGET = Target(name="erp", body=body, update=update)
"""


def test_three_targets_ship() -> None:
    """They are known by short names, which .env.example lists."""
    assert SHIPPED == ["generic_rest", "sap_maintenance_order", "servicenow"]


def test_a_module_of_ones_own_is_named_as_python_names_it(configure: "Configure", module: Callable[[str], str]) -> None:
    """EXTERNAL_TARGET takes a module's name as well as a short one."""
    configure(url=URL, target=module(OWN))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import json\n\nimport requestz\n", "/target.py:3: ModuleNotFoundError: No module named 'requestz'"),
        ("from json import laods\n", "/target.py:1: ImportError: cannot import name 'laods' from 'json'"),
        ("def body(:\n", "/target.py:1: SyntaxError: invalid syntax"),
        (OWN.replace("Target(", "Targte("), "/target.py:12: NameError: name 'Targte' is not defined"),
        (OWN.replace("name=", "nmae="), "/target.py:12: TypeError: Target.__init__() got an unexpected keyword"),
        (
            OWN.replace("bearer, url", "oauth2, url").replace("update)", 'update, auth=oauth2("http://x"))'),
            "/target.py:12: ValueError: expected a token_url such as /oauth/token or https://…, got 'http://x'",
        ),
        (OWN.replace("TARGET", "TARGTE"), " has no TARGET; expected TARGET = Target(name=…, …) in it"),
        ("TARGET = {}\n", " has no TARGET; expected TARGET = Target(name=…, …) in it"),
        (OWN.replace('"erp"', '"a b"'), "/target.py:12: ValueError: expected a name such as acme-erp, got 'a b'"),
        (
            OWN.replace("update)", "update, headers={'A': '1\\n2'})"),
            "/target.py:12: ValueError: expected headers of printable ASCII, got 'A'",
        ),
    ],
)
def test_a_mistake_in_a_module_is_one_line_that_says_where(
    configure: "Configure", module: Callable[[str], str], source: str, expected: str
) -> None:
    """File, line and what is wrong; a module that is missing by its name."""
    with pytest.raises(SettingsError) as refused:
        configure(url=URL, target=module(source))
    [line] = refused.value.lines
    assert line.startswith("EXTERNAL_TARGET: ")
    assert expected in line
    assert "\n" not in line


def test_a_mistake_further_down_is_told_where_it_is(configure: "Configure", module: Callable[..., str]) -> None:
    """What a module imports may lack something, too: the line is that of the import which failed."""
    package = module("import requestz\n", "tables").partition(".")[0]
    with pytest.raises(SettingsError, match=r"/tables\.py:1: ModuleNotFoundError: No module named 'requestz'$"):
        configure(url=URL, target=module(f"import {package}.tables\n"))


@pytest.mark.parametrize("name", ["sap", "acme.target", "json.target", "./erp.toml", "erp.toml", "a b", "..", "acme."])
def test_a_module_that_there_is_not_is_one_line(configure: "Configure", name: str) -> None:
    """What was expected; a file's path is none, though earlier versions took one."""
    expected = "EXTERNAL_TARGET: expected generic_rest, sap_maintenance_order, servicenow or a module of your own such"
    with pytest.raises(SettingsError) as refused:
        configure(url=URL, target=name)
    [line] = refused.value.lines
    assert line.startswith(expected)


# ── url, cut, at ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("wo_1", "/o/wo_1/x"),
        ("São 1?#&=+", "/o/S%C3%A3o%201%3F%23%26%3D%2B/x"),
        ("50%", "/o/50%25/x"),
        ("a..b", "/o/a..b/x"),
        ("(1')", "/o/%281%27%29/x"),
    ],
)
def test_an_id_is_percent_encoded_in_a_path(value: str, expected: str) -> None:
    """Each character that has a meaning in a URL."""
    assert url("/o/{id}/x", id=value) == expected


def test_an_id_that_is_refused_is_named_and_not_shown() -> None:
    """A dead letter's reason goes to logs."""
    with pytest.raises(
        Unmappable, match=r"^the event's code is no id that the target's URL can take: expected 1 to 500"
    ) as no:
        url("/o/{code}", code="S3CRET/1")
    assert "S3CRET" not in no.value.reason
    with pytest.raises(Unmappable):
        url("/o/{code}", code=None)


@given(st.text(max_size=20) | st.text("./\\%2fF5cC;e0 \n\ud800", max_size=12))
def test_any_id_is_one_segment_or_refused(value: str) -> None:
    """However often the path is decoded on the way."""
    try:
        path: str = url("/o/{id}", id=value)
    except Unmappable:
        return
    assert unquote(path) == f"/o/{value}"
    while True:
        assert path.count("/") == 2
        assert path.rpartition("/")[2].partition(";")[0] not in {"", ".", ".."}
        assert "Cc" not in map(unicodedata.category, path)
        assert "\\" not in path
        if unquote(path) == path:
            return
        path = unquote(path)


@given(st.text(), st.integers(0, 20))
def test_a_text_is_cut_to_utf_16_units(text: str, most: int) -> None:
    """Its beginning, as long as fits, with whole characters."""
    shorter = cut(text, most)
    assert shorter is not None
    assert text.startswith(shorter)
    units = len(shorter.encode("utf-16-le")) // 2
    assert units <= most
    assert shorter == text or units >= most - 1


def test_nothing_is_cut_to_nothing() -> None:
    """None stays None."""
    assert cut(None, 5) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a", 1), ("b.0.c", 2), ("b.1", None), ("b.x", None), ("a.x", None), ("b.0.d.e", None), ("b.-1", None)],
)
def test_a_path_leads_through_objects_and_lists(path: str, expected: int | None) -> None:
    """None where it ends early."""
    assert at({"a": 1, "b": [{"c": 2, "d": None}]}, path) == expected
