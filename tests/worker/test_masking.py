"""What a mask names by the kit's own names is hidden where a customer's payload.toml has it."""

from typing import Any

import pytest

from receiver.events import payload_file
from tests.theirs import COMPLETED, CREATED, PAYLOAD_TOML
from worker.masking import masked

ELSEWHERE = """
[event]
id = "no"
type = "what"
actor = ["by.user", "{id: userId, name: userName}"]

[work_order]
at = "@"
id = "no"
name = "$.head.title"
site = "{id: siteId, name: siteName}"
assignees = ["crew[?active].person", "leads[]"]
"""


def hidden(text: str, payload: dict[str, Any], mask: str) -> set[str]:
    """The top members, or those of `data`, in which something is hidden."""
    shown = masked(payload, [mask], payload_file.parse(text, "theirs"))
    before, after = payload.get("data", payload), shown.get("data", shown)
    return {name for name in before if after[name] != before[name]}


@pytest.mark.parametrize(
    ("payload", "mask", "names"),
    [
        (COMPLETED, "work_order.assignees.*.name", {"assignedUsers"}),
        (COMPLETED, "work_order.name", {"workOrderName"}),
        (CREATED, "action.created_by", {"openedBy"}),
        (CREATED, "action.createdBy.name", {"openedBy"}),
        (CREATED, "action.title", {"title"}),
        (CREATED, "data.openedBy", {"openedBy"}),
    ],
)
def test_a_mask_finds_a_field_by_the_payload_map(payload: dict[str, Any], mask: str, names: set[str]) -> None:
    """And hides nothing else."""
    assert hidden(PAYLOAD_TOML, payload, mask) == names


def test_a_whole_subject_is_hidden() -> None:
    """As one value; where it is the payload itself, every value of it."""
    assert masked(CREATED, ["action"], payload_file.parse(PAYLOAD_TOML, "theirs"))["data"] == "***"
    assert masked({"no": 1}, ["work_order"], payload_file.parse(ELSEWHERE, "theirs")) == {"no": "***"}


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("actor.name", {"by", "userId", "userName"}),
        ("work_order.name", {"head"}),
        ("work_order.site.name", {"siteId", "siteName"}),
        ("work_order.assignees.*.name", {"crew", "leads"}),
    ],
)
def test_what_an_expression_reads_is_hidden_whole(mask: str, names: set[str]) -> None:
    """Too much rather than too little; a plain path, or one to the items of a list, hides what is named alone."""
    payload = {
        "no": "1",
        "what": "work_order.created",
        "by": {"user": {"name": "Ana", "id": 7}},
        "userId": 7,
        "userName": "Ana",
        "head": {"title": "Ana's pump", "size": 1},
        "siteId": 3,
        "siteName": "Ana's house",
        "crew": [{"active": True, "person": {"name": "Ana"}}],
        "leads": [{"name": "Rui", "id": 8}],
    }
    assert hidden(ELSEWHERE, payload, mask) == names
    shown = masked(payload, [mask], payload_file.parse(ELSEWHERE, "theirs"))
    assert shown["by"]["user"]["id"] == 7
    assert shown["head"]["size"] == 1
    assert [lead["id"] for lead in shown["leads"]] == [8]


@pytest.mark.parametrize("site", ["*.name", "to_string(@)", "no && @.place", "{all: @, no: no}", "@ | place.name"])
def test_an_expression_that_reads_the_object_itself_hides_all_of_it(site: str) -> None:
    """No member is named there, and none may be left visible."""
    where = payload_file.parse(f"[work_order]\nat = ['wo']\nsite = ['{site}']", "theirs")
    payload = {"wo": {"no": 1, "place": {"name": "Ana's house"}}, "what": "x"}
    assert "Ana" not in str(masked(payload, ["work_order.site"], where))
    assert masked(payload, ["work_order.site"], where)["what"] == "x"


def test_a_path_is_hidden_as_it_stands_wherever_the_map_has_its_subject() -> None:
    """A payload may have both: the sender's own object of that name is not the one that the kit reads."""
    where = payload_file.parse('[work_order]\nat = ["wo"]', "theirs")
    payload = {"work_order": {"site": "Ana's house"}, "wo": {"site": "Rui's"}}
    assert masked(payload, ["work_order.site"], where) == {"work_order": {"site": "***"}, "wo": {"site": "***"}}
