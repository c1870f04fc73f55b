"""The kit's own ledger: how often the worker ran an event's handlers, as it recorded it in Redis."""

from examples.sender.check.ledger import CannotCount, Count
from examples.sender.terminal import Refusal
from receiver import settings
from receiver.connection import TROUBLE, connect
from receiver.keys import Keys
from receiver.settings import ReceiverSettings, Settings, SettingsError
from worker.dead_letters import Desk, find


def of_the_kit() -> Count:
    """Reads what the kit's worker recorded, in the Redis of REDIS_URL: the runs of its most often run handler.

    Raises `Refusal` when the kit's settings are wrong.
    """
    try:
        config = settings.load(Settings)
        sources = settings.load(ReceiverSettings, webhook_token=("not-needed-to-look-0123456789",)).sources()
    except SettingsError as error:
        raise Refusal(f"--ledger: {error.lines[0]}") from None

    async def count(event_id: str) -> int:
        redis = connect(config.redis_url.get_secret_value())
        try:
            story = await find(Desk(redis, Keys(config.key_prefix)), sources, event_id)
        except TROUBLE as error:
            raise CannotCount(f"--ledger: Redis does not answer: {error}") from None
        finally:
            await redis.aclose()
        handlers = story["handlers"].values() if story and not story["open"] else ()
        return max((told["attempts"] for told in handlers if told["state"] == "done"), default=0)

    return count
