"""aiokafka's records as its parser made them: offset, timestamp, key, value and headers, and nothing around that."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition


def as_parsed(tp: TopicPartition, record: Any) -> Any:
    """A record as the parser left it, in place of a ConsumerRecord."""
    return record


def keep_parsed(consumer: AIOKafkaConsumer) -> None:
    """Let a started consumer give records as they were parsed: a ConsumerRecord of each costs 0.7 us more."""
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request

    async def fetched(*args: Any) -> Any:
        came = await fetch(*args)
        for result in fetcher._records.values():
            unread = getattr(result, "_partition_records", None)  # none in a FetchError
            if unread is not None:
                unread._consumer_record = as_parsed
        return came

    fetcher._proc_fetch_request = fetched
