import asyncio
import json
import ssl
from pathlib import Path

import httpx2
import pytest

from examples.sender.fixtures import Glartek
from examples.sender.http import delivery, wire
from examples.sender.http.delivery import deliver
from examples.sender.http.message import Message
from examples.sender.http.recording import Answer, Arrival, NotArrived, RecordingReceiver

pytestmark = pytest.mark.anyio
CREATED = Message.of({"id": "e1", "type": "Action Created"})


async def test_what_arrives_is_kept_byte_for_byte(recording_receiver: RecordingReceiver, glartek: Glartek) -> None:
    """Bytes, headers in order, target, and the type as the catalog names it; titles find it too."""
    attempt = await glartek.send(recording_receiver.url, "action.created", {"action.priority": "Low"})
    (arrival,) = await recording_receiver.wait_for("Action Created")
    assert attempt.ok
    assert arrival.body == glartek.sent[0].body
    assert json.loads(arrival.body)["action"]["priority"] == "Low"
    assert (arrival.method, arrival.target, arrival.http_version, arrival.tls) == ("POST", "/webhooks", "1.1", None)
    assert arrival.header("Content-Type") == "application/json"
    assert arrival.id == glartek.sent[0].id


async def test_answers_are_scripted_in_turn_and_then_200(glartek: Glartek) -> None:
    """A list of answers is given one per request; after its end everything is 200."""
    async with RecordingReceiver([Answer(503), Answer(301, headers={"location": "/x"})]) as receiver:
        statuses = [(await glartek.send(receiver.url, "action.solved")).status for _ in range(3)]
        again = await glartek.send_again(receiver.url)
        assert statuses == [503, 301, 200]
        assert again.ok
        assert receiver.of()[-1].body == receiver.of()[-2].body


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (Answer(ending="reset"), "ReadError"),
        (Answer(body=b"x" * 100, ending="half"), "RemoteProtocolError"),
        (Answer(delay=2), "no answer within 0.2 s"),
    ],
)
async def test_it_misbehaves_on_request(answer: Answer, seen: str) -> None:
    """Half an answer, a reset and silence are what an ordinary client sees them as; the event is kept."""
    async with RecordingReceiver([answer]) as receiver, delivery.client() as client:
        attempt = await deliver(client, receiver.url, CREATED, 0.2)
        assert attempt.error
        assert seen in attempt.error
        assert attempt.ambiguous
        assert [arrival.id for arrival in receiver.of("action.created")] == ["e1"]


async def test_a_sender_that_gives_up_is_noticed() -> None:
    """A time-out of the sender is recorded with the time that it waited."""
    async with RecordingReceiver([Answer(delay=5)]) as receiver, delivery.client() as client:
        await deliver(client, receiver.url, CREATED, 0.2)
        (arrival,) = await receiver.wait_for()
        await receiver.until(lambda: arrival.abandoned, "the sender to give up")
        assert arrival.ended is not None
        assert 0.1 < arrival.ended - arrival.began < 4


async def test_it_can_answer_before_the_body_is_read() -> None:
    """`at_headers` answers on the strength of the headers alone."""

    def refuse(arrival: Arrival) -> Answer | None:
        return Answer(413) if arrival.header("content-length") == "100000" else None

    async with RecordingReceiver(at_headers=refuse) as receiver:
        refused = await wire.post(receiver.url, b"x" * 100_000, {})
        taken = await wire.post(receiver.url, b"x", {})
        assert (refused.status, taken.status) == (413, 200)


async def test_requests_of_one_connection_and_pieces_are_understood() -> None:
    """Keep-alive, chunks and an Expect header work; what is not HTTP is told and answered 400."""
    async with RecordingReceiver() as receiver:
        connection = await wire.Connection(wire.Endpoint.of(receiver.url)).open(1)
        first = await connection.post([b"{", b"}"], {"expect": "100-continue"}, 1, chunked=True)
        second = await connection.post(b"again", {}, 1)
        connection.close()
        assert (first.status, second.status) == (200, 200)
        assert [(arrival.body, arrival.connection) for arrival in receiver.of()] == [(b"{}", 1), (b"again", 1)]
        reader, writer = await asyncio.open_connection(*receiver.url.split("/")[2].split(":"))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert receiver.malformed


async def test_waiting_ends_with_what_came_instead(glartek: Glartek, recording_receiver: RecordingReceiver) -> None:
    """`wait_for` fails as an assertion that names what did arrive, and wakes as soon as enough is there."""
    await glartek.send(recording_receiver.url, "action.solved")
    with pytest.raises(NotArrived, match=r"2 of action\.solved within 0\.05 s; came: action\.solved"):
        await recording_receiver.wait_for("action.solved", 2, timeout=0.05)
    waiting = asyncio.create_task(recording_receiver.wait_for("action.solved", 2))
    await glartek.send_again(recording_receiver.url)
    assert len(await waiting) == 2


async def test_a_dead_endpoint_was_not_reached() -> None:
    """A refused connection is told in plain words and is not ambiguous: the receiver cannot have taken the event."""
    async with RecordingReceiver() as receiver:
        url = receiver.url
    async with delivery.client() as client:
        attempt = await deliver(client, url, CREATED)
    assert attempt.error == "cannot connect: Connection refused"
    assert not attempt.ok
    assert not attempt.ambiguous


async def test_an_endless_answer_is_not_read_to_its_end() -> None:
    """A huge answer costs no more than its first part: Glartek does not read it at all."""
    async with RecordingReceiver([Answer(body=b"x" * 5_000_000)]) as receiver, httpx2.AsyncClient() as client:
        assert (await deliver(client, receiver.url, CREATED)).ok


async def test_a_fault_of_the_script_fails_the_test(glartek: Glartek) -> None:
    """What the scripted answers raise is not taken for a fault of the sender: it comes out of the block."""

    def script(_: Arrival) -> Answer:
        raise KeyError("a slip")

    with pytest.raises(KeyError, match="a slip"):
        async with RecordingReceiver(script) as receiver:
            assert not (await glartek.send(receiver.url, "action.created")).ok


async def test_it_can_stand_behind_tls(tmp_path: Path) -> None:
    """With a certificate the URL is https, and each arrival says which version of TLS it came with."""
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1")
    files = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-addext", "subjectAltName=IP:127.0.0.1")
    openssl = await asyncio.create_subprocess_exec("openssl", *made, *files, stderr=asyncio.subprocess.DEVNULL)
    assert await openssl.wait() == 0
    server, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    trusting.load_verify_locations(tmp_path / "cert")
    async with RecordingReceiver(tls=server) as receiver:
        async with httpx2.AsyncClient(verify=trusting, trust_env=False) as client:
            assert (await deliver(client, receiver.url, CREATED)).ok
        assert receiver.url.startswith("https://127.0.0.1:")
        assert receiver.of()[0].tls == "TLSv1.3"
        stranger = await wire.post(receiver.url, b"{}", {}, 1)
        assert "CERTIFICATE_VERIFY_FAILED" in (stranger.error or "")
