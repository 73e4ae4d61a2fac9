"""Faults while transactions stream, on real Apache Kafka and real Redis, and what must be true after each of them."""
