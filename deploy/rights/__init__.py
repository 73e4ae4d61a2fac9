"""Rights as data: who may do what in Kafka and Redis, and everything that is rendered from it."""
