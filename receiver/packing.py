"""How a delivery goes to Redis and to the spool: packed, as `accept.lua` takes it.

An item in the spool may be older than this version, or newer: its twelve parts and their order stay as they are.
"""

from collections.abc import Sequence

import msgpack

from receiver import events
from receiver.delivery import Delivery
from receiver.queue.jobs import job_key, pack_batch
from receiver.queue.keys import Keys
from receiver.queue.scripts import Value

_TYPES = f" {' '.join(events.BY_NAME)} "
_packer = msgpack.Packer(use_bin_type=False)  # Lua knows one kind of string


def pack_delivery(keys: Keys, delivery: Delivery) -> bytes:
    """A delivery as `accept.lua` and the spool take it."""
    job_id = delivery.job_id
    conflict_id = f"{delivery.id}:conflict:{delivery.digest.hex()[:16]}"
    packed: bytes = _packer.pack(
        [
            keys.delivery(delivery.id),
            job_key(job_id),
            job_id,
            delivery.digest[:16],
            str(delivery.received_us),
            delivery.key,
            delivery.source,
            delivery.event_type,
            delivery.subject,
            delivery.job(),
            keys.dead_letter(conflict_id),
            conflict_id,
        ]
    )
    return packed


def script_keys(keys: Keys) -> list[str]:
    return [keys.queue, keys.order, keys.wake, keys.dead, keys.recent, keys.counts, keys.metrics, keys.doubtful]


def script_args(items: Sequence[bytes]) -> list[Value]:
    """For `accept.lua`: the items of `pack_delivery`, and the types that are counted by name."""
    return [pack_batch(items), _TYPES]
