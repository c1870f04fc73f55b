"""What people note of a group of dead letters."""

import pytest

from tests.worker.conftest import KEYS, Rig
from tests.worker.test_dead_letters import Command, Flaky, run_all, worker
from worker import notes

__all__ = ["worker"]


async def test_a_note_is_there_until_it_is_taken_away(rig: Rig) -> None:
    """With who wrote it; empty it is none."""
    await notes.write(rig.redis, KEYS, "0a1b2c3d", " new tenant ", "ana", "rui")
    [(group, note)] = (await notes.read(rig.redis, KEYS, ["0a1b2c3d", "ffffffff"])).items()
    assert (group, note.text, note.owner, note.by) == ("0a1b2c3d", "new tenant", "ana", "rui")
    await notes.write(rig.redis, KEYS, "0a1b2c3d", "", " ", "rui")
    assert await notes.read(rig.redis, KEYS, ["0a1b2c3d"]) == {}
    assert await notes.read(rig.redis, KEYS, []) == {}


async def test_the_oldest_go(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups come and go: their notes have a bound."""
    monkeypatch.setattr(notes, "MOST", 3)
    groups = [f"{number:08x}" for number in range(5)]
    for group in groups:
        await notes.write(rig.redis, KEYS, group, "x" * 5000, "", "rui")
    held = await notes.read(rig.redis, KEYS, groups)
    assert [*held] == groups[2:]
    assert {len(note.text) for note in held.values()} == {notes.LONGEST}


async def test_the_command_notes_and_lists(rig: Rig, worker: Command) -> None:
    """`dead note` sets it, `dead groups` has it; what is no group's id is one line."""
    flaky = Flaky()
    await run_all(rig, flaky, await rig.send("e1"))
    [group] = await worker.json("dead", "groups")
    await worker("dead", "note", group["group"], "--text", "asked the ERP's people", "--owner", "ana")
    [noted] = await worker.json("dead", "groups")
    assert (noted["text"], noted["owner"]) == ("asked the ERP's people", "ana")
    assert "ana: asked" in await worker("dead", "groups")
    assert "expected a group's id" in await worker("dead", "note", "everything", "--owner", "ana", code=2)
