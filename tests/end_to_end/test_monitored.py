"""The whole kit with a real Prometheus that scrapes it: a bad day in a minute, and the alerts that tell of it.

Those of Prometheus, and the kit's own, which arrive at the stand-in for Teams.
"""

import json
import re
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
import yaml

from tests.conftest import ROOT, TOKEN, Process, Server, Start, unused_port, wait_until
from tests.deploy.proxies import required
from tests.end_to_end.channel import Channel
from tests.receiver.conftest import PATH, listening

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
HANDLERS = """
from pathlib import Path
from worker import GiveUp

async def update(event, ctx):
    if event.payload.get("wish") == "dies":
        raise GiveUp("not today")
    if Path("broken").exists():
        raise OSError("the target is away")

async def note(event, ctx): ...

ROUTES = {"*": [update, note]}
"""
SECONDS = {"m": 1, "h": 3, "d": 60, "w": 30}
"""How long a minute, an hour, a day and a week are on this day, in seconds."""
STEADY = 0.2
"""Seconds between two events of the steady sender."""
OWN = {
    "ALERTS_EVERY": "0.5s",
    "ALERTS_AFTER": "1s",
    "ALERTS_OVER_AFTER": "1s",
    "ALERTS_OLDEST_READY": "2s",
    "ALERTS_SILENCE": "5s",
}
"""Of the kit's own alerts."""
AWAY = f"GlartekRedisAway ({socket.gethostname()})"


def quickly(rules: str) -> str:
    """The kit's own rules on a day of a minute."""
    rules = re.sub(r"(\d+)([mhdw])\b", lambda d: f"{int(d[1]) * SECONDS[d[2]]}s", rules)
    rules = re.sub(r"(?<=_seconds > )\d+", lambda number: f"{int(number[0]) / 60:g}", rules)
    return rules.replace("* 3600", f"* {SECONDS['h']}").replace("* 86400", f"* {SECONDS['d']}")


class Prometheus:
    """Debian's, scraping one console twice a second."""

    def __init__(self, base: str) -> None:
        self._base = base

    def _get(self, path: str, **query: str) -> Any:
        return httpx2.get(f"{self._base}/api/v1/{path}", params=query, trust_env=False).json()["data"]

    def value(self, expression: str) -> float | None:
        """What an expression gives now; None for nothing."""
        found = self._get("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        alerts = self._get("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def wait_for(self, expression: str, expected: float) -> None:
        wait_until(lambda: self.value(expression) == expected, 30, lambda: f"{expression}: {self.value(expression)}")

    def wait_until_fires(self, *names: str) -> None:
        wait_until(lambda: set(names) <= self.firing(), 45, lambda: f"{names}, firing: {self.firing()}")

    def wait_until_over(self, *names: str) -> None:
        wait_until(lambda: not set(names) & self.firing(), 45, lambda: f"{names}, firing: {self.firing()}")


@contextmanager
def prometheus(folder: Path, console: str) -> Iterator[Prometheus]:
    required("prometheus")
    (folder / "rules.yml").write_text(quickly(RULES.read_text(encoding="utf-8")))
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms", "scrape_timeout": "500ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "glartek", "static_configs": [{"targets": [console]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{unused_port()}"
    options = {"config.file": "prometheus.yml", "storage.tsdb.path": "tsdb", "web.listen-address": address}
    command = ["prometheus", *(f"--{name}={value}" for name, value in options.items()), "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        one = Prometheus(f"http://{address}")
        wait_until(lambda: _answers(f"http://{address}/-/ready"), explain=(folder / "prometheus.log").read_text)
        yield one
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


class Sender:
    """Posts events, each answered 200, and counts them."""

    def __init__(self, port: int) -> None:
        self._http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
        self._lock = threading.Lock()
        self.unique = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def send(self, count: int = 1, **more: object) -> None:
        for _ in range(count):
            with self._lock:
                self.unique += 1
                self._post(f"e{self.unique}", **more)

    def again(self, count: int, **more: object) -> None:
        """Events that were sent already, with other bytes if there is `more`."""
        with self._lock:
            for number in range(1, count + 1):
                self._post(f"e{number}", **more)

    def _post(self, event_id: str, **more: object) -> None:
        body = json.dumps({"id": event_id, "type": "action.created", **more})
        assert self._http.post(PATH, content=body).status_code == 200

    @contextmanager
    def steady(self) -> Iterator[None]:
        """An event every now and then while the block runs."""
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(STEADY):
                self.send()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.mark.timeout(300)
def test_a_bad_day_in_a_minute(server: Server, start: Start, tmp_path: Path, stand_ins: str) -> None:
    """Every trouble has its alert, which is over when the trouble is; every count is what was sent, to the last one."""
    (tmp_path / "acts.py").write_text(HANDLERS)
    channel = Channel(stand_ins, server.url)
    env = {"REDIS_URL": server.url, "HANDLERS": "acts:ROUTES", "RETRY_BASE": "0.5s", "RETRY_CAP": "0.5s"}
    env |= OWN | {"ALERTS_TEAMS_URL": channel.hook}
    spool = str(tmp_path / "spool.db")
    receiver = listening(start("-m", "receiver", WEBHOOK_TOKEN=TOKEN, PORT="0", SPOOL_PATH=spool, **env))
    worker = start("-m", "worker", **env)
    console = _address(start("-m", "worker", "console", CONSOLE_PORT="0", **env))
    with Sender(receiver.port) as sender, prometheus(tmp_path, console) as seen:
        seen.wait_for("glartek_workers + glartek_receivers", 2)
        with sender.steady():
            # A burst, which nobody needs to know of; duplicates, which are no trouble; conflicts, which are.
            sender.send(300)
            sender.again(50)
            assert (seen.firing(), channel.told()) == (set(), [])
            sender.again(5, other="bytes")
            seen.wait_until_fires("GlartekConflicts")
            seen.wait_for('sum(glartek_events_duplicate_total{source="event-id"})', 50)
            seen.wait_for('sum(glartek_events_conflict_total{source="event-id"})', 5)
            channel.wait_for("GlartekConflicts (event-id)")

            # A handler fails, and recovers; another event is beyond help.
            (tmp_path / "broken").touch()
            seen.wait_until_fires("GlartekHandlerFailing")
            (tmp_path / "broken").unlink()
            sender.send(3, wish="dies")
            seen.wait_until_fires("GlartekDeadLetters")
            seen.wait_for('glartek_dead_letters_total{handler="acts.update",reason="gave_up"}', 3)
            channel.wait_until_kept("GlartekDeadLetters (acts.update gave_up)")

            # Redis is away: nobody is refused.
            server.kill()
            seen.wait_until_fires("GlartekRedisAway")
            assert seen.value("glartek_events_accepted_total") is None, "what is not known is not said"
            channel.wait_for(AWAY)
            server.start()
            seen.wait_until_over("GlartekRedisAway", "GlartekHandlerFailing", "GlartekDeadLetters", "GlartekConflicts")
            channel.wait_for(f"{AWAY} is over")
        assert (seen.value("glartek_events_spooled_total") or 0) > 0

        # Nothing comes, at an hour at which events came a week ago.
        seen.wait_until_fires("GlartekSilence")
        channel.wait_for("GlartekSilence")

        # Nobody handles what comes.
        worker.signal(signal.SIGTERM)
        worker.wait()
        sender.send(20)
        seen.wait_until_over("GlartekSilence")
        seen.wait_until_fires("GlartekNoWorker", "GlartekBacklogOld")
        channel.wait_for("GlartekSilence is over", "GlartekNoWorker", "GlartekBacklogOld")
        assert seen.value("glartek_jobs_ready") == 20
        start("-m", "worker", **env)
        seen.wait_until_over("GlartekNoWorker", "GlartekBacklogOld")
        channel.wait_for("GlartekNoWorker is over", "GlartekBacklogOld is over")
        _holds_to_the_last_one(seen, sender.unique)
        assert seen.firing() == set()
        _told_once(channel)


def _told_once(channel: Channel) -> None:
    """By Teams. An alert about a count lasts for ten minutes, of conflicts for an hour.

    The silence comes back after the last event, and a handler that failed for seconds is told of only if the kit's ten
    minutes began just before.
    """
    counted = Counter(one for one in channel.told() if not one.startswith(("GlartekSilence", "GlartekHandlerFailing")))
    ended = ("GlartekNoWorker", "GlartekBacklogOld", AWAY)
    lasting = ("GlartekConflicts (event-id)", "GlartekDeadLetters (acts.update gave_up)")
    assert counted == dict.fromkeys([*ended, *lasting, *(f"{one} is over" for one in ended)], 1)


def _holds_to_the_last_one(seen: Prometheus, unique: int) -> None:
    """Across an outage of Redis and two workers."""
    by_outcome = 'sum(glartek_handler_outcomes_total{{handler="acts.{}",outcome="{}"}})'
    seen.wait_for("sum(glartek_events_accepted_total)", unique)
    seen.wait_for(by_outcome.format("note", "done"), unique)
    seen.wait_for(by_outcome.format("update", "done"), unique - 3)
    seen.wait_for(by_outcome.format("update", "dead"), 3)
    seen.wait_for("glartek_accept_to_start_seconds_count", unique)
    seen.wait_for('glartek_accept_to_done_seconds_count{handler="acts.update"}', unique)
    runs = 'glartek_handler_run_seconds_count{handler="acts.update"}'
    retries = 'sum(glartek_handler_retries_total{handler="acts.update"})'
    seen.wait_for(f"sum({runs}) - {retries}", unique)


def _address(console: Process) -> str:
    found = re.search(r'"address": "([^"]+)"', console.wait_for("console listening"))
    assert found
    return found[1]
