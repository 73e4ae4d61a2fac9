"""The only module that touches private names of Faust's objects; checks at import that all names we rely on exist.

`BatchApp`, `BatchConsumer` and `ConsumerThread` also override private methods of Faust's; `NAMES` lists those, too.
`tests/integration/test_faust_hooks.py` pins what these names do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from faust.types import TP

from scorer.kafka.private_names import require

#: The versions that our tests run with.
TESTED, TESTED_MODE = "0.15.3", "0.7.1"
#: Names that are underscored, or public but undocumented, by Faust's module.
NAMES = {
    "faust.app.base": ("App._new_transport",),
    "faust.transport.consumer": (
        "Consumer._add_gap",
        "Consumer._commit_offsets",
        "Consumer._committed_offset",
        "Consumer._drain_messages",
        "Consumer._filter_tps_with_pending_acks",
        "Consumer._new_offset",
        "Consumer._unacked_messages",
        "Consumer._wait_next_records",
        "Consumer._waiting_for_ack",
        "Consumer.consumer_stopped_errors",
        "Consumer.flow_active",
        "Consumer.on_buffer_drop",
        "Consumer.on_buffer_full",
        "Consumer.perform_seek",
        "Consumer.suspend_flow",
        "ThreadDelegateConsumer._commit",
        "ThreadDelegateConsumer._new_consumer_thread",
        "ThreadDelegateConsumer._thread",
    ),
    "faust.transport.drivers.aiokafka": (
        "AIOKafkaConsumerThread._create_worker_consumer",
        "AIOKafkaConsumerThread._ensure_consumer",
        "AIOKafkaConsumerThread._fetch_records",
        "AIOKafkaConsumerThread.assignment",
        "AIOKafkaConsumerThread.commit",
        "AIOKafkaConsumerThread.earliest_offsets",
        "AIOKafkaConsumerThread.getmany",
    ),
}
#: The same for mode, Faust's library of services.
MODE_NAMES = {
    "mode.services": ("Service._shutdown",),
    "mode.threads": (
        "ServiceThread._stopped_set",
        "ServiceThread._start_thread",
        "ServiceThread.set_shutdown",
        "QueueServiceThread.call_thread",
    ),
    "mode.utils.futures": ("maybe_async", "notify"),
}


def check() -> None:
    """Raises LibraryError if the installed Faust or mode lacks one of the names."""
    require("faust-streaming", TESTED, NAMES)
    require("mode-streaming", TESTED_MODE, MODE_NAMES)


check()  # before the next import, which would fail without naming the version to install

from mode.utils.futures import notify  # noqa: E402


def thread_of(consumer: Any) -> Any:
    """The thread that runs a consumer's aiokafka client."""
    return consumer._thread


def client_of(thread: Any) -> AIOKafkaConsumer:
    """The aiokafka client of a started consumer thread."""
    return thread._ensure_consumer()


async def next_records(consumer: Any, seconds: float) -> tuple[Mapping[Any, list[Any]] | None, set[TP] | None]:
    """Wait for the next fetch; returns its records by partition, and the active partitions, None if all are.

    Records are None or empty if none came within `seconds`.
    """
    fetched, active = await consumer._wait_next_records(seconds)
    return fetched, active


def acknowledge(consumer: Any, message: Any) -> None:
    """Tell Faust that a message is done, and wake a revocation that waits for it.

    Faust's own `ack` would also note the message's offset as the one to commit.
    """
    message.acked = True
    consumer._unacked_messages.discard(message)
    notify(consumer._waiting_for_ack)


def forget_commit(consumer: Any, tp: TP) -> None:
    """Make Faust commit a partition's next offset even if it is below the last one that it committed."""
    consumer._committed_offset[tp] = None


def note_commit(consumer: Any, offsets: Mapping[TP, int]) -> None:
    """Have Faust commit a partition again only once it has come further."""
    consumer._committed_offset.update(offsets)
