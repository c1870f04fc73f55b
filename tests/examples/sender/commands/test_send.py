import asyncio
import json
import sys
from pathlib import Path

import pytest

from examples.sender.http import wire
from examples.sender.http.recording import Answer, RecordingReceiver
from receiver import auth, events
from tests.conftest import ROOT
from tests.examples.sender.conftest import Run
from tests.theirs import COMPLETED, CREATED

pytestmark = pytest.mark.anyio
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_list_names_every_type_and_says_whose_the_samples_are(run: Run) -> None:
    """`list` has the eleven types with Glartek's titles and says that the samples are the kit's own."""
    plain, report = await run("list"), await run("list", "--json")
    for kind in events.CATALOG:
        assert kind.name in plain.out
        assert kind.title in plain.out
    assert "own invention" in plain.out
    assert [row["name"] for row in report.json()["types"]] == list(events.BY_NAME)
    assert plain.code == report.code == 0


async def test_all_sends_every_type_and_duplicates_are_byte_identical(
    command: Run, recording_receiver: RecordingReceiver
) -> None:
    """`all --duplicates 1` sends the eleven types in order, each twice with the same bytes, ids all different."""
    finished = await command("all", "--duplicates", "1", "--to", recording_receiver.url)
    assert finished.code == 0, finished.err
    arrivals = recording_receiver.of()
    assert [arrival.type for arrival in arrivals[::2]] == list(events.BY_NAME)
    assert [arrival.body for arrival in arrivals[::2]] == [arrival.body for arrival in arrivals[1::2]]
    assert len({arrival.id for arrival in arrivals}) == len(events.CATALOG)
    assert "22 delivered, 0 failed" in finished.out
    assert "settings: timeout 10; duplicates 1; signed no" in finished.out


@pytest.mark.parametrize("words", ["action.cant_do", "Action Can't Do", "ACTION CANT DO"])
async def test_a_type_is_a_name_or_a_title_in_any_case(
    run: Run, recording_receiver: RecordingReceiver, words: str
) -> None:
    """TYPE is understood as our name or as Glartek's title, whatever its case and punctuation."""
    finished = await run("send", words, SENDER_TO=recording_receiver.url)
    assert finished.code == 0, finished.err
    assert [arrival.type for arrival in recording_receiver.of()] == ["action.cant_do"]


async def test_set_changes_the_payload_and_a_seed_repeats_it(run: Run, recording_receiver: RecordingReceiver) -> None:
    """`--set` edits a field wherever it is, and the same `--seed` sends the same bytes again."""
    for _ in range(2):
        arguments = ("--set", 'work_order.tasks.1.response={"value": 9}', "--set", "type=x.y", "--seed", "7")
        assert (await run("send", "work_order.updated", *arguments, "--to", recording_receiver.url)).code == 0
    first, second = recording_receiver.of()
    assert first.body == second.body
    payload = json.loads(first.body)
    assert payload["type"] == "x.y"
    assert payload["work_order"]["tasks"][1]["response"] == {"value": 9}


async def test_raw_sends_a_file_as_it_is(run: Run, recording_receiver: RecordingReceiver, tmp_path: Path) -> None:
    """`--raw` sends a file's bytes, or those of stdin, whatever they are."""
    (tmp_path / "body").write_bytes(b"\x00not json\xff")
    assert (await run("send", "--raw", str(tmp_path / "body"), "--to", recording_receiver.url)).code == 0
    assert (await run("send", "--raw", "-", "--to", recording_receiver.url, stdin=b"{}")).code == 0
    assert [arrival.body for arrival in recording_receiver.of()] == [b"\x00not json\xff", b"{}"]


async def test_real_samples_take_the_place_of_ours_and_fields_can_go(
    run: Run, recording_receiver: RecordingReceiver, tmp_path: Path
) -> None:
    """`--samples` sends what is in the folder, with ids of its own; `--remove` takes fields out."""
    (tmp_path / "a.json").write_text('{"webhookType": "Action Created", "eventId": "x-1", "extra": {"a": 1, "b": 2}}')
    finished = await run("all", "--samples", str(tmp_path), "--remove", "extra.a", "--to", recording_receiver.url)
    (arrival,) = recording_receiver.of("action.created")
    payload = json.loads(arrival.body)
    assert finished.code == 0
    assert payload["extra"] == {"b": 2}
    assert payload["eventId"].startswith("x-")


async def test_a_body_can_be_edited_and_is_signed_as_it_goes_out(
    run: Run, recording_receiver: RecordingReceiver, tmp_path: Path
) -> None:
    """`--edit` opens each body in $EDITOR, `--secret` signs what came of it; a failing editor stops everything."""
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf \'{"type": "edited", "id": "e9"}\' > "$1"\n')
    editor.chmod(0o755)
    to = ("send", "action.created", "--edit", "--secret", SECRET, "--to", recording_receiver.url)
    assert (await run(*to, EDITOR=str(editor), VISUAL="")).code == 0
    failing, missing = await run(*to, EDITOR="false", VISUAL=""), await run(*to, EDITOR="", VISUAL="")
    (arrival,) = recording_receiver.of()
    assert arrival.body == b'{"type": "edited", "id": "e9"}'
    assert arrival.header("webhook-id") == "e9"
    assert auth.verify([SECRET], dict(arrival.headers), arrival.body, float(arrival.header("webhook-timestamp") or 0))
    assert (failing.code, missing.code) == (2, 2)
    assert "nothing was sent" in failing.err
    assert "set EDITOR" in missing.err


async def test_what_a_refusal_said_is_shown(run: Run) -> None:
    """The body of an answer that is no success is in the table, harmless to a terminal, and in the JSON."""
    async with RecordingReceiver([Answer(422, body=b"no field \x1b[31m'id'\n")] * 2) as receiver:
        plain = await run("send", "action.created", "--to", receiver.url)
        report = await run("send", "action.created", "--to", receiver.url, "--json")
    assert "422 is not 200 or 201: no field \\x1b[31m'id'\\n" in plain.out
    assert "no field" in report.json()["deliveries"][0]["answer"]


@pytest.mark.parametrize(
    "body", [b'{"id": "it\\\'s"}', b"@file", b"\x00\xff\xfe", '{"name": "\u202e"}'.encode(), b"y" * 200_000]
)
async def test_a_curl_line_sends_the_same_request(
    run: Run, recording_receiver: RecordingReceiver, tmp_path: Path, body: bytes
) -> None:
    """`--curl` prints a line that a shell runs to the same effect, whatever the body is."""
    (tmp_path / "body").write_bytes(body)
    to = (
        "send",
        "--raw",
        str(tmp_path / "body"),
        "--to",
        recording_receiver.url,
        "--header",
        "X-A: b c",
        "--secret",
        SECRET,
    )
    printed = await run(*to, "--curl")
    assert not recording_receiver.arrivals
    shell = await asyncio.create_subprocess_exec("sh", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL)
    await shell.communicate(printed.out.encode())
    await run(*to)
    by_curl, ours = recording_receiver.of()
    assert by_curl.body == ours.body == body
    for name in ("content-type", "x-a", "webhook-id"):
        assert by_curl.header(name) == ours.header(name)


async def test_every_sample_of_a_type_is_sent_with_the_customer_s_map(
    run: Run, recording_receiver: RecordingReceiver, tmp_path: Path
) -> None:
    """Two samples of one type are two events; id and type are found where payload.toml says."""
    (tmp_path / "payload.toml").write_text('[event]\nid = "guid"\ntype = "kind"\n')
    (tmp_path / "s").mkdir()
    for number in (1, 2):
        sample = {"kind": "Action Created", "guid": f"g-00000{number}", "number": number}
        (tmp_path / f"s/{number}.json").write_text(json.dumps(sample))
    where = {"PAYLOAD_MAP": str(tmp_path / "payload.toml")}
    finished = await run(
        "send", "Action Created", "--samples", f"{tmp_path}/s", "--to", recording_receiver.url, "--json", **where
    )
    rows = finished.json()["deliveries"]
    assert [row["type"] for row in rows] == ["action.created"] * 2
    assert all(row["id"].startswith("g-") for row in rows)
    assert [json.loads(arrival.body)["number"] for arrival in recording_receiver.of()] == [1, 2]
    assert finished.json()["note"] == ""


@pytest.mark.parametrize("status", [202, 204, 302, 404, 500])
async def test_anything_but_200_or_201_is_a_failure(run: Run, status: int) -> None:
    """A status other than 200 or 201 ends with exit code 1 and says why, in the table and in the JSON."""
    async with RecordingReceiver([Answer(status), Answer(status), Answer(201)]) as receiver:
        plain = await run("send", "action.created", "--to", receiver.url)
        report = await run("send", "action.created", "--to", receiver.url, "--json")
        created = await run("send", "action.created", "--to", receiver.url)
    assert (plain.code, report.code, created.code) == (1, 1, 0)
    assert f"{status} is not 200 or 201" in plain.out
    assert report.json()["deliveries"][0]["status"] == status
    assert len(receiver.of()) == 3  # a redirect is not followed


async def test_a_late_answer_is_a_failure_that_may_have_been_taken(run: Run) -> None:
    """No answer in time ends with exit code 1 and is reported as ambiguous."""
    async with RecordingReceiver([Answer(delay=5)]) as receiver:
        finished = await run("send", "action.created", "--to", receiver.url, "--timeout", "0.2", "--json")
    (delivery,) = finished.json()["deliveries"]
    assert finished.code == 1
    assert delivery["ambiguous"]
    assert "no answer within 0.2 s" in delivery["error"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("send", "action.created"), "--to is missing"),
        (("send", "--to", "http://127.0.0.1:9/"), "which event?"),
        (("send", "action.craeted", "--to", "http://127.0.0.1:9/"), "did you mean action.created"),
        (("send", "action.created", "--to", "ftp://x/"), "expected an http:// or https:// URL"),
        (("send", "action.created", "--to", "http://127.0.0.1:9/", "--set", "oops"), "expected path=value"),
        (("send", "--raw", "/nowhere", "--to", "http://127.0.0.1:9/"), "cannot be read"),
        (("all", "--duplicates", "many", "--to", "http://127.0.0.1:9/"), "--duplicates"),
        (("sned",), "No such command"),
        (("all", "--header", "Host: x", "--to", "http://127.0.0.1:9/"), "HTTP's own"),
        (("all", "--payload-map", "/nowhere", "--to", "http://127.0.0.1:9/"), "/nowhere: cannot be read"),
        (("send", "--raw", "x", "--set", "a=1", "--to", "http://127.0.0.1:9/"), "leave out TYPE"),
        (("all", "--remove", "work_order.nmae", "--to", "http://127.0.0.1:9/"), "it has id, code, name"),
    ],
)
async def test_wrong_usage_is_one_clear_line_and_exit_code_2(
    run: Run, arguments: tuple[str, ...], expected: str
) -> None:
    """Wrong usage says in one line what was expected, and never shows a traceback."""
    finished = await run(*arguments, SENDER_TO="")
    assert finished.code == 2
    assert expected in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [("send", "action.created"), ("storm", "--clients", "1"), ("check",), ("lifecycle",)]
)
async def test_authorities_that_cannot_be_read_are_wrong_usage(run: Run, command: tuple[str, ...]) -> None:
    """SSL_CERT_FILE names whom to trust behind https; when it is no file of certificates, that is said in one line."""
    url, trusted = "https://127.0.0.1:9/", {"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": ""}
    wire.trusted.cache_clear()
    finished = await run(*command, *(("--to",) if command != ("check",) else ()), url, **trusted)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err == "SSL_CERT_FILE=/nowhere: expected a file of certificates: No such file or directory\n"


TOKEN_URL = "https://example.org/webhooks/glartek/s3cret-0123456789abcdef"


@pytest.mark.parametrize(
    "arguments",
    [
        ("all", TOKEN_URL),
        ("send", TOKEN_URL, "--to", "http://127.0.0.1:9/"),
        ("send", "action.created", "--to", f"{TOKEN_URL} é"),
        ("send", "action.created", "--to", TOKEN_URL.removeprefix("https://")),
        ("send", "action.created", "--to", TOKEN_URL.replace("//", "//[")),
        ("lifecycle", "--webhook", TOKEN_URL),
        ("lifecycle", "--webhook", f"{TOKEN_URL}?sig=x"),
        ("scenario", TOKEN_URL, "--to", "http://127.0.0.1:9/"),
        ("check", f"{TOKEN_URL} é"),
    ],
)
async def test_a_refusal_never_shows_the_token(run: Run, arguments: tuple[str, ...]) -> None:
    """Where a URL stands in the wrong place or cannot be used, the line that says so hides its token."""
    finished = await run(*arguments)
    assert finished.code == 2
    assert "s3cret" not in finished.out + finished.err
    assert "s3cr…" in finished.err or "where to?" in finished.err
    assert finished.err.count("\n") == 1


async def test_the_report_never_shows_the_token(run: Run) -> None:
    """A URL's token is shortened wherever the URL is shown, for reports are passed around."""
    token = "k3yThatNobodyMayReadAnywhere"
    async with RecordingReceiver(path=f"/webhooks/glartek/{token}") as receiver:
        finished = await run("send", "action.created", "--to", receiver.url)
    assert finished.code == 0
    assert token not in finished.out + finished.err
    assert "/webhooks/glartek/k3yT…" in finished.out


async def test_what_was_learned_is_sent(tmp_path: Path, run: Run, recording_receiver: RecordingReceiver) -> None:
    """The redacted samples and the map that `receiver learn` writes are a sender of a customer's own payloads."""
    (tmp_path / "in").mkdir()
    for number, payload in enumerate((COMPLETED, CREATED)):
        (tmp_path / f"in/{number}.json").write_text(json.dumps(payload))
    learn = [sys.executable, "-m", "receiver", "learn", "in", "--time-zone", "Europe/Lisbon"]
    learning = await asyncio.create_subprocess_exec(*learn, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert await learning.wait() == 1  # what its priority 3 means is left open
    samples = ("--samples", str(tmp_path / "redacted"), "--payload-map", str(tmp_path / "payload.toml"))
    finished = await run("all", "--to", recording_receiver.url, *samples)
    assert finished.code == 0, finished.err
    sent = [json.loads(arrival.body) for arrival in recording_receiver.of()]
    assert {payload["webhookType"] for payload in sent} == {"Work Order Completed", "Action Created"}
    assert len({payload["eventGuid"] for payload in sent} - {COMPLETED["eventGuid"], CREATED["eventGuid"]}) == 2
