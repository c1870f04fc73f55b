"""The alerts' channel in Teams, as its stand-in has it."""

import json

import httpx2
from redis import Redis

from tests.conftest import wait_until


class Channel:
    """What the cards say that a workflow took, of a kit whose Redis has the URL `redis`."""

    def __init__(self, stand_ins: str, redis: str) -> None:
        self._stand_ins, self._redis = stand_ins, redis
        self.hook = f"{stand_ins}/workflows/alerts/triggers/manual/paths/invoke?sig=the-signature-of-a-workflow"
        """For ALERTS_TEAMS_URL."""

    def told(self) -> list[str]:
        """The first line of each alert of each card, in order: the alert, what it is about, and whether it is over."""
        recorded = httpx2.get(f"{self._stand_ins}/recorded/teams", trust_env=False).json()["accepted"]
        cards = [one["message"]["attachments"][0]["content"] for one in recorded]
        items = [part["items"][0] for card in cards for part in card["body"] if part["type"] == "Container"]
        return [item["inlines"][0]["text"] for item in items]

    def wait_for(self, *lines: str) -> None:
        wait_until(lambda: set(lines) <= set(self.told()), 30, lambda: f"{lines}: {self.told()}")

    def wait_until_kept(self, *lines: str) -> None:
        """And until it is written down that Teams took them: a kill before that would have them sent again."""
        self.wait_for(*lines)
        with Redis.from_url(self._redis) as redis:
            wait_until(lambda: not json.loads(redis.get("glartek:alerts"))["unsent"])
