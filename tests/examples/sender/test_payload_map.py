"""The sender looks where the receiver looks, in the same file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.sender import payload_map
from examples.sender.payload_map import OURS
from examples.sender.terminal import Refusal

TOML = """
[event]
id = "eventGuid"
time = "triggeredAt"

[work_order]
at = "data"
id = "workOrderId"
"""


def test_a_customer_says_where_their_fields_are(tmp_path: Path) -> None:
    """Id, subject and time by the file; a time without an offset and without a zone is one in UTC here."""
    (tmp_path / "payload.toml").write_text(TOML)
    where = payload_map.from_file(tmp_path / "payload.toml")
    payload = {"eventGuid": "g1", "triggeredAt": "2026-07-20 14:03:11", "data": {"workOrderId": 9}}
    assert where.id_of(payload) == "g1"
    assert where.time_of(payload) == datetime(2026, 7, 20, 14, 3, 11, tzinfo=UTC)
    assert next(iter(payload_map.subjects_of(where, payload))) == ({"workOrderId": 9}, ("workOrderId", "code"))


def test_two_maps_together_look_in_both_places(tmp_path: Path) -> None:
    """The customer's places come first, the kit's own are still looked at."""
    (tmp_path / "payload.toml").write_text(TOML)
    both = payload_map.after(payload_map.from_file(tmp_path / "payload.toml"), OURS)
    assert both.id_of({"id": "ours"}) == "ours"
    assert both.id_of({"id": "ours", "eventGuid": "theirs"}) == "theirs"
    assert payload_map.after(OURS, OURS) is OURS


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    """In one line, as every mistake on the sender's command line."""
    (tmp_path / "payload.toml").write_text("[event]\nid = 1")
    with pytest.raises(Refusal, match=r"payload\.toml: event\.id: expected a dotted path"):
        payload_map.from_file(tmp_path / "payload.toml")
