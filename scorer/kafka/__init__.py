"""Kafka clients of our own, beside Faust's."""

import scorer.kafka.aiokafka_internals  # noqa: F401 - checks aiokafka before anything imports from it
from scorer.kafka.batches import guard

guard()  # before anything reads
