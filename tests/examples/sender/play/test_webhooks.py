from pathlib import Path

import pytest

from examples.sender.play import webhooks
from examples.sender.terminal import Refusal, without_secrets
from receiver import events


@pytest.mark.parametrize(
    ("url", "corrected", "escapes"),
    [
        ("https://example.org/café", "https://example.org/caf%C3%A9", ", %C3%A9 for 'é'"),
        ("https://example.org/a b?c=d e", "https://example.org/a%20b?c=d%20e", ", %20 for ' '"),
        ("https://example.org/100%", "https://example.org/100%25", ", %25 for '%'"),
        ("https://example.org/%C3%A9/é", "https://example.org/%C3%A9/%C3%A9", ", %C3%A9 for 'é'"),
        ('https://example.org/"x"<', "https://example.org/%22x%22%3C", """, %22 for '"', %3C for '<'"""),
        ("https://fábrica.example/x", "https://xn--fbrica-pta.example/x", ""),
    ],
)
def test_a_url_that_is_not_percent_encoded_is_refused_with_the_corrected_form(
    url: str, corrected: str, escapes: str
) -> None:
    """As Glartek's form asks; the corrected form is accepted, and says the same."""
    with pytest.raises(Refusal) as refusal:
        webhooks.endpoint(url)
    assert str(refusal.value).endswith(f"expected {without_secrets(corrected)}{escapes}")
    assert webhooks.endpoint(corrected) == corrected == webhooks.encoded(corrected)


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org/", "https://", "http://[::1", "http://h:99999/"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """Only http and https, with a host and a possible port."""
    with pytest.raises(Refusal, match="expected an http:// or https:// URL"):
        webhooks.endpoint(url)


def test_webhooks_come_from_a_file_and_from_flags(tmp_path: Path) -> None:
    """Types by name or title, or all of them; one endpoint each; any number of webhooks."""
    file = tmp_path / "webhooks.toml"
    file.write_text(
        '[[webhook]]\ntypes = ["Work Oder Assigned", "action.created"]\nurl = "http://a/"\n'
        '[[webhook]]\ntypes = "all"\nurl = "http://b/"\n'
    )
    first, second = webhooks.from_file(file)
    assert first == webhooks.Webhook(frozenset({"work_order.assigned", "action.created"}), "http://a/")
    assert second.types == set(events.BY_NAME)
    assert webhooks.from_flag("Action Solved=http://c/?d=e").types == {"action.solved"}
    assert webhooks.from_flag("all=http://c/?d=e").url == "http://c/?d=e"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected [[webhook]] tables"),
        ("[webhook]", "expected [[webhook]] tables"),
        ("x = ", "cannot be read"),
        ('[[webhook]]\nurl = "http://a/"', "webhook 1: expected exactly"),
        ('[[webhook]]\ntypes = "all"\nurl = "http://a/"\nsecret = "x"', "webhook 1: expected exactly"),
        ('[[webhook]]\ntypes = []\nurl = "http://a/"', "expected a list of event types"),
        ('[[webhook]]\ntypes = ["action.craeted"]\nurl = "http://a/"', "did you mean action.created"),
        ('[[webhook]]\ntypes = "all"\nurl = "http://a/b c"', "expected http://a/b%20c"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_of_the_mistake(tmp_path: Path, text: str, expected: str) -> None:
    """One line: the file, which webhook, and what was expected."""
    file = tmp_path / "webhooks.toml"
    file.write_text(text)
    with pytest.raises(Refusal) as refusal:
        webhooks.from_file(file)
    assert str(file) in str(refusal.value)
    assert expected in str(refusal.value)


def test_a_flag_without_a_url_is_refused() -> None:
    """The form of the flag is said."""
    with pytest.raises(Refusal, match="expected TYPE,TYPE=URL"):
        webhooks.from_flag("action.created")
