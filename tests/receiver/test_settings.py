"""Every wrong setting is one line that names the variable and what was expected, and repeats no secret."""

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.environment import SettingsError, duration, load
from receiver.payload_settings import PayloadSettings
from receiver.settings import ReceiverSettings
from receiver.variables import variables

TOKEN = "Zq8-vN3_kX7.tR2~bL5wM9cP"
REDIS = "redis://localhost:6379/0"


@pytest.fixture(autouse=True)
def environment(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEBHOOK_TOKEN", TOKEN)
    monkeypatch.setenv("REDIS_URL", REDIS)
    return clean_environment


def refused() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load(ReceiverSettings)
    return raised.value.lines


def test_the_two_required_ones_are_enough() -> None:
    """Everything else has a default that works."""
    config = load(ReceiverSettings)
    assert [token.get_secret_value() for token in config.webhook_token] == [TOKEN]
    assert config.port == 8000


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one that is missing is a line of its own; an empty one is as missing as none."""
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("WEBHOOK_TOKEN", "")
    assert [line.partition(":")[0] for line in refused()] == ["REDIS_URL", "WEBHOOK_TOKEN"]
    assert all("is not set" in line for line in refused())


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        *(("PORT", port, "a whole number in digits only") for port in ("http", "8_000", "+8000", "8000.0", "٨٠٠٠")),
        ("PORT", "65536", "65535"),
        ("PORT", "-1", "0"),
        ("REDIS_URL", "localhost:6379", "redis://"),
        ("REDIS_URL", "http://localhost", "redis://"),
        ("REDIS_URL", "redis://", "redis://"),
        ("REDIS_URL", "unix://", "redis://"),
        ("REDIS_URL", "redis://localhost:port/0", "redis://"),
        ("REDIS_URL", "redis://localhost:70000/0", "redis://"),
        ("REDIS_URL", "redis://[::1", "redis://"),
        ("REDIS_URL", "redis://localhost/zero", "redis://"),
        ("REDIS_URL", "sentinel://one:port,two/mymaster", "redis://"),
        ("REDIS_URL", "sentinel://one:26379/mymaster/zero", "redis://"),
        ("KEY_PREFIX", "glartek", "match"),
        ("KEY_PREFIX", "two words:", "expected to match pattern"),
        ("MAX_BODY_BYTES", "1MB", "a whole number"),
        ("MAX_BODY_BYTES", "10", "1024"),
        *(("PAYLOAD_TIMEZONE", zone, "Europe/Lisbon") for zone in ("Lisboa", "+01:00", "Europe", "../UTC", "a\tb")),
        ("DEDUPE_WINDOW", "a week", "duration"),
        ("DEDUPE_WINDOW", "-5s", "duration"),
        ("DEDUPE_WINDOW", "0", "1"),
        ("DEDUPE_WINDOW", "99999999999999999999d", "less than"),
        ("DEDUPE_WINDOW_BODY", "1w", "duration"),
        ("DEDUPE_WINDOW_BODY", "٢h", "duration"),
        ("HEALTH_PORT", "8_002", "a whole number"),
        ("BODY_TIMEOUT", "10s", "9"),
        ("BODY_TIMEOUT", "0", "0"),
        ("EVENT_ID_PATHS", ",", "at least 1"),
        ("IDEMPOTENCY_SOURCES", "event-id,event_type", "or header:<name>; 'event_type' is no source"),
        ("IDEMPOTENCY_SOURCES", "header:X-Request-ID", "expected another header: "),
        ("IDEMPOTENCY_SOURCES", " , ", "at least 1"),
        ("MAX_BUFFERED_BYTES", "1", "1048576"),
        ("LOG_LEVEL", "loud", "'debug'"),
        ("LOG_FORMAT", "xml", "'json'"),
        ("WEBHOOK_TOKEN", "short", "at least 20 characters"),
        ("WEBHOOK_TOKEN", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "cannot be guessed"),
        ("WEBHOOK_TOKEN", "a token with spaces 0123456789", "letters, digits"),
        ("WEBHOOK_TOKEN", "slashes/in/the/token/0123456789", "letters, digits"),
        ("WEBHOOK_TOKEN", ",", "at least 1"),
        ("WEBHOOK_TOKEN", f"{TOKEN},short", "at least 20 characters"),
        ("WEBHOOK_TOKEN", "change-me-change-me-change-me", "placeholder"),
        ("WEBHOOK_TOKEN", "Your_Token_0123456789abcdefgh", "placeholder"),
        ("WEBHOOK_TOKEN", "REPLACE.ME.0123456789abcdefgh", "placeholder"),
        ("SIGNING_SECRETS", "not base64", "whsec_"),
        ("SIGNING_SECRETS", "whsec_c2hvcnQ=", "24 to 64"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str) -> None:
    """The line begins with the variable and says what was expected."""
    monkeypatch.setenv(variable, value)
    [line] = refused()
    assert line.startswith(f"{variable}: ")
    assert said in line
    assert "\n" not in line


def test_a_header_that_is_not_signed_is_no_source_where_signatures_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would decide nothing: the line says what can."""
    monkeypatch.setenv("SIGNING_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    monkeypatch.setenv("IDEMPOTENCY_SOURCES", "header:Webhook-Id,body")
    assert load(ReceiverSettings).idempotency_rule().signed
    monkeypatch.setenv("IDEMPOTENCY_SOURCES", "header:x-event-id,body")
    [line] = refused()
    assert line.startswith("IDEMPOTENCY_SOURCES: 'header:x-event-id' is not covered by the signature")
    assert "expected webhook-id" in line


def test_every_wrong_value_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start shows all mistakes, not the first one."""
    for variable in ("PORT", "LOG_LEVEL", "DEDUPE_WINDOW", "WEBHOOK_TOKEN", "REDIS_URL", "IDEMPOTENCY_SOURCES"):
        monkeypatch.setenv(variable, "wrong")
    named = {line.partition(":")[0] for line in refused()}
    assert named == {"PORT", "LOG_LEVEL", "DEDUPE_WINDOW", "WEBHOOK_TOKEN", "REDIS_URL", "IDEMPOTENCY_SOURCES"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBHOOK_TOKEN", "short-and-secret"),
        ("WEBHOOK_TOKEN", f"{TOKEN},s3cret/with/slashes/0123456789"),
        ("REDIS_URL", "http://user:s3cret-password@host"),
        ("REDIS_URL", "redis://user:s3cret-password@host:port/0"),
        ("REDIS_URL", "redis://user:s3cret-password\N{FULLWIDTH COMMERCIAL AT}@host/0"),
        ("SIGNING_SECRETS", "whsec_s3cret-not-base64"),
        ("SIGNING_SECRETS", "whsec_c2VjcmV0"),
    ],
)
def test_a_secret_is_never_repeated(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A wrong secret is not printed where someone may read it."""
    monkeypatch.setenv(variable, value)
    text = " ".join(refused())
    for part in (value, "s3cret", "c2VjcmV0", "short-and"):
        assert part not in text


def test_secrets_do_not_show_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings may be printed by accident; their secrets are not."""
    monkeypatch.setenv("REDIS_URL", "redis://user:s3cret@host")
    monkeypatch.setenv("SIGNING_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    text = repr(load(ReceiverSettings))
    assert TOKEN not in text
    assert "s3cret" not in text
    assert "MfKQ9r8" not in text


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "redis://localhost:6379/0", "rediss://user:p%40ss@host:6380/1", "redis://[::1]:6379",
        "unix:///run/valkey.sock", "unix:///run/valkey.sock?db=1", "sentinel://one:26379,two:26379/mymaster",
        "sentinel://user:pass@one,two,three/mymaster/1", "redis://host:6379?db=2",
    ],
)  # fmt: skip
def test_every_documented_redis_url_is_accepted(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """TLS, sockets, passwords, IPv6 and Sentinel are all fine."""
    monkeypatch.setenv("REDIS_URL", url)
    assert load(ReceiverSettings).redis_url.get_secret_value() == url


def test_a_zone_is_named_as_iana_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset is no zone."""
    assert load(ReceiverSettings).payload_timezone is None
    monkeypatch.setenv("PAYLOAD_TIMEZONE", "Europe/Lisbon")
    assert load(ReceiverSettings).payload_timezone == ZoneInfo("Europe/Lisbon")


def test_several_tokens_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is being replaced both are in force."""
    monkeypatch.setenv("WEBHOOK_TOKEN", f" {TOKEN} , {TOKEN}2,")
    config = load(ReceiverSettings)
    assert [token.get_secret_value() for token in config.webhook_token] == [TOKEN, TOKEN + "2"]


def test_the_env_file_is_read_and_the_environment_wins(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` in the current folder holds settings; a variable that is set overrides it."""
    (environment / ".env").write_text("PORT=1234\nLOG_LEVEL=debug\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("LOG_LEVEL", "error")
    config = load(ReceiverSettings)
    assert (config.port, config.log_level) == (1234, "error")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("10m", 600), ("1h", 3600), ("7d", 604800), ("500ms", 0.5), ("1.5h", 5400), (" 2 m ", 120), ("7", 7)],
)
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    """A number with a unit, or seconds."""
    assert duration(text) == pytest.approx(seconds)


@given(st.text().filter(lambda text: not any(character.isdecimal() for character in text)))
def test_no_other_text_is_a_duration(text: str) -> None:
    """Words, signs and infinities are refused with a ValueError and nothing else."""
    with pytest.raises(ValueError, match="expected a duration"):
        duration(text)


def test_a_body_always_fits_into_the_memory_for_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that would answer 503 to every body of the size it allows stops the start."""
    monkeypatch.setenv("MAX_BODY_BYTES", str(80 * 1024 * 1024))
    [line] = refused()
    assert line.startswith("MAX_BUFFERED_BYTES: ")


def test_the_list_of_variables_shows_no_value_of_this_machine() -> None:
    """The table for the README is made of defaults alone, and every setting has a meaning in it."""
    listed = {variable: (default, meaning) for variable, default, meaning in variables(ReceiverSettings)}
    assert listed["WEBHOOK_TOKEN"][0] == "required"
    assert listed["DEDUPE_WINDOW"][0] == "7d"
    assert listed["DEDUPE_WINDOW_BODY"][0] == "1h"
    assert all(meaning for _, meaning in listed.values())


def test_a_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`NAME_FILE` names a file with the value, whose end of line is not part of it; `NAME` itself wins."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}-of-the-file,{TOKEN}-the-old-one\n")
    monkeypatch.setenv("WEBHOOK_TOKEN_FILE", str(file))
    assert load(ReceiverSettings).webhook_token[0].get_secret_value() == TOKEN
    monkeypatch.setenv("WEBHOOK_TOKEN", "")
    tokens = [token.get_secret_value() for token in load(ReceiverSettings).webhook_token]
    assert tokens == [f"{TOKEN}-of-the-file", f"{TOKEN}-the-old-one"]
    Path(".env").write_text(f"REDIS_URL_FILE={tmp_path / 'url'}\n")
    (tmp_path / "url").write_text("redis://of-the-file:6379/0")
    monkeypatch.delenv("REDIS_URL")
    assert load(ReceiverSettings).redis_url.get_secret_value() == "redis://of-the-file:6379/0"


def test_a_secret_s_file_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing file is named, an empty one is a setting that is not set, a wrong value is told without the value."""
    monkeypatch.delenv("WEBHOOK_TOKEN")
    monkeypatch.setenv("WEBHOOK_TOKEN_FILE", str(tmp_path / "none"))
    [line] = refused()
    assert line.startswith(f"WEBHOOK_TOKEN_FILE: '{tmp_path}/none' cannot be read (No such file or directory)")
    (tmp_path / "none").write_text("\n")
    assert [line.partition(";")[0] for line in refused()] == ["WEBHOOK_TOKEN: is not set"]
    (tmp_path / "none").write_bytes(b"\xff")
    assert "it is not UTF-8 text" in refused()[0]
    (tmp_path / "none").write_text("changeme-0123456789")
    [line] = refused()
    assert line.startswith("WEBHOOK_TOKEN: is a placeholder")
    assert "changeme" not in line


def test_blanks_around_a_value_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come from quotes or a copied text, and nobody sees them: an address with one is none."""
    monkeypatch.setenv("HOST", "127.0.0.1 ")
    monkeypatch.setenv("REDIS_URL", " redis://localhost ")
    config = load(ReceiverSettings)
    assert (config.host, config.redis_url.get_secret_value()) == ("127.0.0.1", "redis://localhost")


@pytest.mark.parametrize(
    ("name", "value"), [("WEBHOOK_TOKEN", " "), ("WEBHOOK_TOKEN", ","), ("IDEMPOTENCY_SOURCES", ",")]
)
def test_a_list_without_a_value_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """In our words, not in those of the library that checks it."""
    monkeypatch.setenv(name, value)
    assert refused() == (f"{name}: expected at least 1 value",)


def test_a_line_of_env_that_cannot_be_read_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that was meant would not be set, and nobody told which file and line."""
    monkeypatch.delenv("ENV_FILE", raising=False)
    Path(".env").write_text("# mine\nHOST=127.0.0.1\n\nPORT 9000\n")
    assert refused() == (".env: from line 3 on: expected NAME=value",)
    Path(".env").write_text("PORT='9000\n")
    assert refused() == (".env: from line 1 on: expected NAME=value",)


def test_only_secrets_are_read_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port in a file would be a way nobody needs."""
    (tmp_path / "port").write_text("9000")
    monkeypatch.setenv("PORT_FILE", str(tmp_path / "port"))
    assert load(ReceiverSettings).port == 8000


def test_the_fields_to_leave_out_of_a_key_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the sources are: what is no source of its own belongs to the one before it."""
    monkeypatch.setenv("IDEMPOTENCY_SOURCES", "event-id, body-without:sentAt,meta.attempt, header:x-id, body")
    expected = ("event-id", "body-without:sentAt,meta.attempt", "header:x-id", "body")
    assert load(PayloadSettings).idempotency_sources == expected
