"""Schemas of records: from a registry or a file, compiled."""
