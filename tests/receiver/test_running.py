"""What `make run` tells the commands of its folder."""

import stat
from pathlib import Path

import pytest

from receiver import running
from receiver.environment import SettingsError, load, read_env_file
from receiver.settings import ReceiverSettings
from receiver.variables import strays
from tests.conftest import TOKEN


def test_commands_find_what_make_run_runs_and_nothing_afterwards(clean_environment: Path) -> None:
    """Redis, token and spool are known without an export, from a file for this user only, as long as it is up."""
    data = clean_environment / ".data"
    data.mkdir()
    odd = "o'dd \\ #$HOME/spool.db"
    with running.announced(data, {"REDIS_URL": "unix:///x.sock", "WEBHOOK_TOKEN": TOKEN, "SPOOL_PATH": odd}):
        config = load(ReceiverSettings)
        assert config.redis_url.get_secret_value() == "unix:///x.sock"
        assert config.webhook_token[0].get_secret_value() == TOKEN
        assert str(config.spool_path) == odd
        [file] = data.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        left_behind = file.read_bytes()
    with pytest.raises(SettingsError, match="REDIS_URL: is not set"):
        load(ReceiverSettings)
    file.write_bytes(left_behind)  # as a kill does
    with pytest.raises(SettingsError, match="REDIS_URL: is not set"):
        load(ReceiverSettings)


def test_what_is_set_wins_over_what_is_running(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, `.env`, and a secret's file; DATA_DIR says where to look."""
    data = clean_environment / "elsewhere"
    data.mkdir()
    secret = clean_environment / "token"
    secret.write_text(TOKEN)
    (clean_environment / ".env").write_text(f"DATA_DIR=elsewhere\nLOG_LEVEL=debug\nWEBHOOK_TOKEN_FILE={secret}\n")
    monkeypatch.setenv("PORT", "1234")
    told = {"REDIS_URL": "unix:///x.sock", "PORT": "1", "LOG_LEVEL": "error", "WEBHOOK_TOKEN": TOKEN + "2"}
    with running.announced(data, told):
        config = load(ReceiverSettings)
    assert (config.port, config.log_level, config.webhook_token[0].get_secret_value()) == (1234, "debug", TOKEN)
    assert config.redis_url.get_secret_value() == "unix:///x.sock"


def test_a_file_that_is_named_and_is_not_there_is_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong name is not taken for no file: what it should set would silently be missing."""
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "typo.env"))
    with pytest.raises(SettingsError, match=r"ENV_FILE: expected a file .*typo\.env', which is none"):
        load(ReceiverSettings)


def test_tests_and_the_demo_read_neither(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ENV_FILE: neither `.env` nor what runs here."""
    (clean_environment / ".env").write_text("REDIS_URL=redis://developer\n")
    (clean_environment / ".data").mkdir()
    monkeypatch.setenv("ENV_FILE", "")
    with (
        running.announced(clean_environment / ".data", {"REDIS_URL": "unix:///x.sock"}),
        pytest.raises(SettingsError, match="REDIS_URL: is not set"),
    ):
        load(ReceiverSettings)
    assert read_env_file() == {}


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_an_env_file_that_is_not_utf8_is_one_line(clean_environment: Path, encoding: str) -> None:
    """Whoever reads it; a byte order mark before UTF-8 is no harm."""
    (clean_environment / ".env").write_text("PORT=1234 # é\n", encoding=encoding)
    for read in (lambda: load(ReceiverSettings), read_env_file):
        with pytest.raises(SettingsError, match=r"^\.env: is not UTF-8 text; save it as UTF-8$"):
            read()
    (clean_environment / ".env").write_text("PORT=1234\n", encoding="utf-8-sig")
    assert read_env_file() == {"PORT": "1234"}


def test_a_name_in_small_letters_is_no_setting(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the file nor in the environment, as it is said: `host=0.0.0.0` below HOST opened the port to all."""
    (clean_environment / ".env").write_text("HOST=127.0.0.2\nhost=0.0.0.0\n")
    monkeypatch.setenv("port", "1234")
    settings = load(ReceiverSettings, redis_url="redis://127.0.0.1", webhook_token=[TOKEN])
    assert (settings.host, settings.port) == ("127.0.0.2", 8000)
    assert strays() == ["host is no setting, and has no effect; did you mean HOST?"]


def test_a_name_that_is_no_setting_but_looks_like_one_is_told(clean_environment: Path) -> None:
    """A near name or a known beginning, with what may have been meant; any other variable is left alone."""
    (clean_environment / ".env").write_text(
        "EVENT_ID_PATH=id\nHOSTS=x\nKEEP_ALL=1\nPORT=1\nWEBHOOK_TOKEN_FILE=x\nPUBLISHED_PORTS=8000\nMY_OWN=1\nSITE=x\n"
    )
    told = strays()
    assert [line.partition(" ")[0] for line in told] == ["EVENT_ID_PATH", "HOSTS", "KEEP_ALL"]
    assert told[0] == "EVENT_ID_PATH is no setting, and has no effect; did you mean EVENT_ID_PATHS?"
    assert "HOST?" in told[1]
    assert "KEEP_ALIVE" in told[2]
