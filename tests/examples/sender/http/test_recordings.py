import gzip
import json
import stat
from pathlib import Path

import pytest

from examples.sender.http import recordings, wire
from examples.sender.http.recording import Answer, RecordingReceiver
from examples.sender.http.recordings import Recording
from examples.sender.play.payloads import Samples
from examples.sender.terminal import Refusal

pytestmark = pytest.mark.anyio
EVENT = b'{ "type": "Action Created", "id": "e1", "note": "\xc3\xa7" }\n'


async def test_what_arrived_is_on_disk_byte_for_byte(tmp_path: Path) -> None:
    """Method, target, headers in their order and case, raw body, time and answer come back as they were."""
    async with RecordingReceiver([Answer(), Answer(503)]) as receiver:
        await wire.post(receiver.url, EVENT, [("X-Second", "b"), ("x-First", "a"), ("X-Second", "c")])
        await wire.post(receiver.url, b"\x00\xff no json", {})
        files = receiver.save(tmp_path / "new/folder")
        first, second = recordings.read(tmp_path / "new/folder")
        arrivals = receiver.of()
    assert [file.name for file in files] == ["0001-action.created.json", "0002-raw.bin"]
    assert files[0].read_bytes() == first.body == EVENT
    assert first.headers == arrivals[0].sent_headers
    assert first.headers[2:] == (("X-Second", "b"), ("x-First", "a"), ("X-Second", "c"))
    assert (first.at, first.method, first.target, first.answered) == (arrivals[0].at, "POST", "/webhooks", 200)
    assert (second.body, second.answered) == (b"\x00\xff no json", 503)
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600  # payloads hold names and tokens


async def test_a_recording_is_a_folder_of_samples_and_goes_on(tmp_path: Path) -> None:
    """`--samples` takes it as it is, and a second recording in the same folder overwrites nothing."""
    async with RecordingReceiver() as receiver:
        await wire.post(receiver.url, EVENT, {})
        (arrival,) = receiver.of()
    for number in (1, 2):
        assert Recording(tmp_path).save(arrival).name == f"000{number}-action.created.json"
    assert [payload["note"] for payload in Samples.from_folder(tmp_path).payloads] == ["ç", "ç"]
    assert len(recordings.read(tmp_path)) == 2
    (one,) = recordings.read(tmp_path / "0002-action.created.json")
    assert one.name == "0002-action.created"


async def test_a_type_from_outside_makes_a_harmless_file_name(tmp_path: Path) -> None:
    """Slashes, dots and length stay inside the folder."""
    async with RecordingReceiver() as receiver:
        for words in ("../../etc/passwd", "x" * 500, "\u0000\n"):
            await wire.post(receiver.url, json.dumps({"type": words}).encode(), {})
        files = receiver.save(tmp_path)
    assert {file.parent for file in files} == {tmp_path}
    assert max(len(file.name) for file in files) < 80


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (None, "", "expected a recording"),
        ("1.head", "POST / HTTP/1.1\n\n# arrived 2026-01-01T00:00:00Z\n", "the body is missing"),
        ("1.head", "POST /\n\n", "expected a request line"),
        ("1.head", "POST / HTTP/1.1\n\n", "# arrived TIME"),
    ],
)
def test_what_is_no_recording_is_refused_by_name(tmp_path: Path, name: str | None, content: str, expected: str) -> None:
    """One line: which file, and what was expected."""
    if name:
        (tmp_path / name).write_text(content)
    if "missing" not in expected:
        (tmp_path / "1.json").write_text("{}")
    with pytest.raises(Refusal, match=expected):
        recordings.read(tmp_path)


async def test_a_compressed_event_is_known_by_what_it_says(tmp_path: Path) -> None:
    """Its bytes stay compressed; its name and its redaction go by the content."""
    async with RecordingReceiver() as receiver:
        await wire.post(receiver.url, gzip.compress(EVENT), {"content-encoding": "gzip"})
        (file,), (redacted,) = receiver.save(tmp_path / "a"), receiver.save(tmp_path / "b", redact=True)
    assert (file.name, redacted.name) == ("0001-action.created.bin", "0001-action.created.json")
    assert gzip.decompress(file.read_bytes()) == EVENT
    (request,) = recordings.read(tmp_path / "b")
    assert request.header("content-encoding") is None
    assert request.header("content-length") == str(len(request.body))
