"""Tokens in constant time; signatures as Standard Webhooks defines them."""

import base64
import datetime as dt
import json

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from receiver import auth

# The known answer of the Standard Webhooks reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER_SECRET = "whsec_" + base64.b64encode(b"another key of thirty-two bytes!").decode()


def signed(**changes: str) -> dict[str, str]:
    headers = {"webhook-id": MESSAGE_ID, "webhook-timestamp": str(TIMESTAMP), "webhook-signature": SIGNATURE}
    return headers | {name.replace("_", "-"): value for name, value in changes.items()}


def accepted(headers: dict[str, str], body: bytes = BODY, now: float = TIMESTAMP) -> bool:
    return auth.verify([SECRET], headers, body, now)


def test_sign_gives_the_published_answer() -> None:
    """Our signature is the one that the scheme's reference libraries are tested with."""
    assert auth.sign(SECRET, MESSAGE_ID, TIMESTAMP, BODY) == SIGNATURE


def test_verify_takes_the_published_answer() -> None:
    """And it is accepted at its own time."""
    assert accepted(signed())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(webhook_id=""),
        signed(webhook_id=MESSAGE_ID + "x"),
        signed(webhook_timestamp=""),
        signed(webhook_timestamp=str(TIMESTAMP + 1)),
        signed(webhook_timestamp=f" {TIMESTAMP}"),
        signed(webhook_timestamp=f"-{TIMESTAMP}"),
        signed(webhook_timestamp=f"{TIMESTAMP}.0"),
        signed(webhook_timestamp="1" * 5000),
        signed(webhook_timestamp="²"),
        signed(webhook_timestamp="١٦١٤٢٦٥٣٣٠"),
        signed(webhook_signature=""),
        signed(webhook_signature="v1"),
        signed(webhook_signature="v1,"),
        signed(webhook_signature="v2" + SIGNATURE[2:]),
        signed(webhook_signature=SIGNATURE[3:]),
        signed(webhook_signature=SIGNATURE.lower()),
        signed(webhook_signature="v1,ÿÿÿÿ"),
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    """A missing, foreign or malformed part is an answer of no, not an error."""
    assert not accepted(headers)


def test_another_body_is_refused() -> None:
    """The signature is over the very bytes."""
    assert not accepted(signed(), BODY + b" ")


@pytest.mark.parametrize(("late", "taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_the_tolerance_is_five_minutes_either_way(late: int, taken: bool) -> None:  # noqa: FBT001 - a table
    """An old signature cannot be played again, a clock a little off does no harm."""
    assert accepted(signed(), now=TIMESTAMP + late) is taken


def test_one_good_signature_among_several_is_enough() -> None:
    """A sender that replaces its secret sends two; a receiver that replaces its own knows two."""
    assert accepted(signed(webhook_signature=f"v1a,xyz v1,AAAA {SIGNATURE}"))
    assert auth.verify([OTHER_SECRET, SECRET], signed(), BODY, TIMESTAMP)
    assert not auth.verify([OTHER_SECRET], signed(), BODY, TIMESTAMP)
    assert not auth.verify([], signed(), BODY, TIMESTAMP)


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1),
    payload=st.dictionaries(st.text(), st.integers()),
)
def test_the_standardwebhooks_package_agrees(key: bytes, message_id: str, payload: dict[str, int]) -> None:
    """What the scheme's own package signs we accept, and what we sign it accepts."""
    secret = "whsec_" + base64.b64encode(key).decode()
    oracle = standardwebhooks.Webhook(secret)
    now = dt.datetime.now(tz=dt.UTC).replace(microsecond=0)
    body = json.dumps(payload)
    theirs = oracle.sign(message_id, now, body)
    ours = auth.sign(secret, message_id, int(now.timestamp()), body.encode())
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": theirs}
    assert ours == theirs
    assert auth.verify([secret], headers, body.encode(), now.timestamp())
    assert oracle.verify(body, headers) == payload


@given(
    headers=st.fixed_dictionaries(
        {},
        optional={
            "webhook-id": st.text(st.characters(exclude_categories=())),
            "webhook-timestamp": st.one_of(st.text(st.characters(exclude_categories=())), st.integers().map(str)),
            "webhook-signature": st.text(st.characters(exclude_categories=())),
        },
    ),
    body=st.binary(),
    now=st.sampled_from([0.0, float(TIMESTAMP)]),
)
def test_no_header_raises(headers: dict[str, str], body: bytes, now: float) -> None:
    """Whatever a stranger sends is an answer of no."""
    assert auth.verify([SECRET], headers, body, now) is False


def test_a_lone_surrogate_in_the_id_is_refused() -> None:
    """Even a text with no UTF-8 form is an answer of no, with everything else in order."""
    assert not accepted(signed(webhook_id="\ud800"))


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("whsec_not base64!", "base64"),
        ("whsec_é", "base64"),
        ("whsec_", "24 to 64"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "24 to 64"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "24 to 64"),
    ],
)
def test_a_bad_secret_says_what_is_wrong(secret: str, problem: str) -> None:
    """The mistake is named, the secret is not repeated."""
    with pytest.raises(ValueError, match=problem) as raised:
        auth.secret_key(secret)
    assert "not base64!" not in str(raised.value)


@pytest.mark.parametrize(
    ("token", "known"),
    [("one-token", True), ("another-token", True), ("one-toke", False), ("one-tokenn", False), ("", False),
     ("ONE-TOKEN", False), ("\udcff", False), ("one-token\0", False)],
)  # fmt: skip
def test_a_token_is_one_of_the_accepted(token: str, known: bool) -> None:  # noqa: FBT001 - a table
    """Each of the tokens in force is accepted, nothing near one is, and no text raises."""
    assert auth.is_one_of(token, [b"one-token", b"another-token"]) is known
