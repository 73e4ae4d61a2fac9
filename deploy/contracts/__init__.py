"""Contracts as data: JSON Schema of the records of every topic, and an AsyncAPI document of who exchanges them."""
