"""The target's file: what ships is right, and every mistake is named with its line."""

from pathlib import Path

import pytest

from examples.handlers.external_system import target

GOOD = """\
name = "erp"
method = "PATCH"
path = "/orders/{work_order.id}"
[fields]
status = "work_order.status"
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in target.SHIPPED.glob("*.toml")))
def test_what_ships_is_right(name: str) -> None:
    """The three targets to start from pass their own check."""
    assert target.load(name).fields


def test_a_file_of_ones_own_is_named_by_its_path(tmp_path: Path) -> None:
    """EXTERNAL_TARGET takes a path as well as a name."""
    file = tmp_path / "erp.toml"
    file.write_text(GOOD)
    assert target.load(str(file)).name == "erp"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (GOOD.replace('"PATCH"', '"GET"'), "t.toml:2: method: expected 'POST', 'PUT' or 'PATCH'"),
        (GOOD.replace("method", "methode"), "t.toml:2: methode: is not known here"),
        (GOOD.replace("/orders", "orders"), "t.toml:3: path: expected a path from / on, without spaces"),
        (GOOD.replace(".id}", ".id"), "t.toml:3: path: expected paths in braces, such as {work_order.code}"),
        (GOOD.replace("{work_order.id}", "{lookup}"), "t.toml:1: expected {lookup} in path together with a [lookup]"),
        (GOOD + "[fields.x]\n", "t.toml:6: fields.x: expected exactly one of from, text, value or each"),
        (GOOD + 'x = { from = "a b" }', "t.toml:6: fields.x.from: expected a path such as work_order.status"),
        (GOOD + 'x = { from = "a", text = "b" }', "t.toml:6: fields.x: expected exactly one of"),
        (GOOD + 'x = { form = "a" }', "t.toml:6: fields.x.form: is not known here"),
        (GOOD + 'x = { each = "a" }', "t.toml:6: fields.x: expected each and fields together"),
        (GOOD + 'x = { from = "a", format = "iso" }', "t.toml:6: fields.x.format: expected 'date', 'utc', 'unix' or"),
        (GOOD + '[fields.x]\neach = "a"\n[fields.x.fields]\ny = "b c"\n', "t.toml:9: fields.x.fields.y.from: expected"),
        (GOOD + '[auth]\nkind = "magic"\n', "t.toml:7: auth.kind: expected 'none', 'bearer', 'basic', 'api_key' or"),
        (GOOD + '[auth]\nkind = "api_key"\n', 't.toml:6: auth: expected header with kind = "api_key"'),
        (GOOD + '[auth]\nkind = "oauth2"\n', 't.toml:6: auth: expected token_url with kind = "oauth2"'),
        (
            GOOD + '[auth]\nkind = "oauth2"\ntoken_url = "http://x"',
            "t.toml:6: auth: expected token_url to begin with {EXTERNAL_URL}/ or https://",
        ),
        (GOOD + '[auth]\nscope = "x"\n', "t.toml:6: auth: expected scope only with"),
        (GOOD + '[auth]\ncredentials = "body"\n', "t.toml:6: auth: expected credentials only with"),
        (
            GOOD + 'x = { value = "a", max_length = 3 }',
            "t.toml:6: fields.x: expected max_length with from or text only",
        ),
        (GOOD + 'x = { each = "a", fields = { b = "c" }, default = "d" }', "t.toml:6: fields.x: expected default with"),
        (GOOD + '[headers]\nA = "1"\n"B C" = "2"\n', "t.toml:6: headers: expected a header's name and printable ASCII"),
        (GOOD + '[headers]\nA = "1\\n2"\n', "t.toml:6: headers: expected a header's name and printable ASCII, got 'A'"),
        (
            GOOD.replace("{work_order.id}", "{lookup}") + "[lookup]\npath = '/x/{lookup}'\ntake = 'x'\n",
            "t.toml:1: expected {lookup} in path only",
        ),
        (GOOD + "[lookup]\ntake = 'x'\n", "t.toml:6: lookup.path: is missing"),
        (GOOD.partition("[fields]")[0], "t.toml:1: fields: is missing"),
        (GOOD + "[fields", "t.toml:6: not TOML: "),
        (GOOD + GOOD, "t.toml:9: not TOML: "),
    ],
)
def test_a_mistake_is_named_with_its_line(wrong: str, expected: str) -> None:
    """Each line says where, what, and what was expected."""
    with pytest.raises(target.TargetRefused) as refused:
        target.parse(wrong, "t.toml")
    assert expected in [line[: len(expected)] for line in refused.value.lines]


def test_every_mistake_is_named_at_once() -> None:
    """Three mistakes are three lines."""
    wrong = GOOD.replace('"PATCH"', '"GET"').replace("/orders", "orders") + "x = 1\n"
    with pytest.raises(target.TargetRefused) as refused:
        target.parse(wrong, "t.toml")
    assert [line.split(":")[1] for line in refused.value.lines] == ["2", "3", "6"]


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    """A folder, or a file that is not text, says what was expected."""
    (tmp_path / "binary").write_bytes(b"\xff")
    for path in (tmp_path, tmp_path / "binary", tmp_path / "none"):
        with pytest.raises(target.TargetRefused, match="expected generic_rest, sap_maintenance_order, servicenow or"):
            target.load(str(path))
