"""A path finds a value or nothing, and never fails on a payload."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.events.paths import Paths, at_path, joined

PAYLOAD = {
    "event": {"id": 7},
    "a b": 1,
    "x.y": {"z": 2},
    "it's": 3,
    "users": [{"name": "Ana"}, {"name": "Rui"}],
    "empty": "",
    "who": {"userId": 1, "userName": "Ana"},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("event.id", 7),
        ("event.id.no", None),
        ("a b", 1),
        ("it's", 3),
        ('"x.y".z', 2),
        ("@", PAYLOAD),
        ("users[].name", ["Ana", "Rui"]),
        ("users[?name=='Rui'].name | [0]", "Rui"),
        ("{id: who.userId, name: who.userName}", {"id": 1, "name": "Ana"}),
        ("join('.', users[].name)", "Ana.Rui"),
        ("length(event.id)", None),
        ("sum(users)", None),
    ],
)
def test_a_path_leads_to_a_value(path: str, value: Any) -> None:
    """Dotted or JMESPath; where a function does not fit the value, nothing is there."""
    assert at_path(PAYLOAD, path) == value


@pytest.mark.parametrize("path", ["a.", ".a", "a[", "", "a b(", "@id", "{a}", "a,b"])
def test_what_is_no_path_is_refused_in_one_line(path: str) -> None:
    """At the start, with the path and the reason."""
    with pytest.raises(ValueError, match="expected a dotted path or JMESPath") as refused:
        Paths([path])
    assert "\n" not in str(refused.value)
    assert repr(path) in str(refused.value)


def test_the_first_path_that_has_a_text_counts() -> None:
    """An empty one is passed by."""
    assert Paths(["empty", "event", "event.id"]).text(PAYLOAD) == "7"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3))
def test_a_path_can_be_written_for_any_names(names: list[str]) -> None:
    """Whatever the fields are called, the path that is written for them leads there."""
    payload: Any = "found"
    for name in reversed(names):
        payload = {name: payload}
    assert at_path(payload, joined(names)) == "found"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


@given(anything, st.sampled_from(["a.b.c", "a[].b", "max(a)", "avg(@)", "to_number(a)", "sort_by(a, &b)", "ceil(a)"]))
def test_no_payload_makes_a_path_fail(payload: Any, path: str) -> None:
    """What was sent is a stranger's; whatever it is, the event is handled."""
    at_path(payload, path)
