"""A body that holds several events is parted, and no byte of an event changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.events.batch import elements


@pytest.mark.parametrize(
    ("text", "path", "found"),
    [
        ('{"events": [ {"n":1.10 } ,{"n": 2}] }', "events", ['{"n":1.10 }', '{"n": 2}']),
        ('{"a":{"b":[1]},"a":{"b":[2,"x,]"]}}', "a.b", ["2", '"x,]"']),
        (" [[1],[] , {}]", "@", ["[1]", "[]", "{}"]),
        ('{"events": []}', "events", None),
        ('{"events": {"a": 1}}', "events", None),
        ('{"event": [1]}', "events", None),
        ('{"a": 1}', "a.b", None),
        ("[1", "@", None),
        ('{"a" [1]}', "a", None),
        ("", "@", None),
        ("7", "@", None),
    ],
)
def test_the_elements_of_a_list_are_its_own_text(text: str, path: str, found: list[str] | None) -> None:
    """Spaces and digits as they came; None where there is no such list."""
    assert elements(text, path) == found


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.lists(anything, min_size=1), anything, st.sampled_from([None, 1, 3]))
def test_any_list_is_parted(parts: list[Any], other: Any, indent: int | None) -> None:
    """Wherever it is, each element reads as it did in the list."""
    text = json.dumps({"first": other, "sent": {"events": parts}, "last": other}, indent=indent)
    found = elements(text, "sent.events")
    assert found is not None
    assert [json.loads(part) for part in found] == parts


@given(st.text(), st.sampled_from(["@", "a", "a.b"]))
def test_no_text_makes_it_fail(text: str, path: str) -> None:
    """Whatever was sent, nothing is raised: it is stored whole."""
    elements(text, path)
