"""Whole numbers as Protobuf and Avro write them, seven bits in a byte."""

from __future__ import annotations


def varint(n: int) -> bytes:
    """A number from 0 to 2^64 - 1."""
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def zigzag(n: int) -> bytes:
    """A number of 64 bits with its sign, as Avro writes it."""
    return varint((n << 1) ^ (n >> 63))
