"""Stops clients of aiokafka for certain.

`asyncio.wait_for` of Python 3.11 may lose a cancellation that arrives together with the answer it waits for. If that
strikes a client's own task, which asks for metadata, the client's `stop` waits for it without an end.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

log = logging.getLogger(__name__)

#: Longest wait for a client to stop, in seconds. A second cancellation then ends what missed the first one.
STOP_SECONDS = 10.0


async def stop(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient, sending: float = 0.0) -> None:
    """Stop a client; a producer sends what it still holds. Raises KafkaError.

    sending: seconds after which a producer gives a record up: once in its buffer, once on its way.
    """
    limit = asyncio.timeout(STOP_SECONDS + 2 * sending)
    done = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
    with suppress(TimeoutError):
        async with limit:
            await done()
    if limit.expired():
        log.warning("a Kafka client did not stop within %.0f s", STOP_SECONDS + 2 * sending)
