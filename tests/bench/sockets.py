"""How many bytes a process has received from a port so far, as Linux counts them for each connection.

A contender that has received nothing yet has no transaction in flight, whatever it is built on.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# From linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h and linux/tcp.h.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, INET_DIAG_INFO = 4, 20, 2
NLM_F_REQUEST_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x301, 2, 3
HEADER, ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
#: Where a connection's attributes begin, its ports, its inode, and `tcpi_bytes_received` within its `tcp_info`.
ATTRIBUTES_AT, PORTS_AT, INODE_AT, RECEIVED_AT = 72, 4, 68, 128


@cache
def are_told() -> bool:
    """Whether Linux tells here what connections have received; a container may forbid to ask."""
    try:
        return received(os.getpid(), 1) == 0
    except OSError:
        return False


def received(pid: int, port: int) -> int:
    """Bytes that a process has received from a port of this machine, over its open connections.

    Raises OSError where Linux does not tell.
    """
    mine = set(_inodes(pid))
    return sum(bytes_ for to, inode, bytes_ in _connections() if to == port and inode in mine)


def _inodes(pid: int) -> Iterator[int]:
    folder = Path(f"/proc/{pid}/fd")
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            yield int(target[8:-1])


def _connections() -> Iterator[tuple[int, int, int]]:
    """Remote port, inode and bytes received of every TCP connection over IPv4 and IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0, 0xFFFFFFFF)
        request += bytes(48)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
            link.bind((0, 0))
            size = HEADER.size + len(request)
            link.send(HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
            yield from _answers(link)


def _answers(link: socket.socket) -> Iterator[tuple[int, int, int]]:
    while True:
        data, at = link.recv(1 << 20), 0
        while at < len(data):
            size, kind, _, _, _ = HEADER.unpack_from(data, at)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise OSError(-struct.unpack_from("=i", data, at + HEADER.size)[0], "sock_diag")
            found = _connection(data[at + HEADER.size : at + size])
            if found is not None:
                yield found
            at += _padded(size)


def _connection(body: bytes) -> tuple[int, int, int] | None:
    """Of one answer; None for a socket that only listens."""
    at = ATTRIBUTES_AT
    while at + ATTRIBUTE.size <= len(body):
        size, kind = ATTRIBUTE.unpack_from(body, at)
        if kind == INET_DIAG_INFO and size >= ATTRIBUTE.size + RECEIVED_AT + 8:
            (bytes_,) = struct.unpack_from("=Q", body, at + ATTRIBUTE.size + RECEIVED_AT)
            _, to = struct.unpack_from(">HH", body, PORTS_AT)
            return to, struct.unpack_from("=I", body, INODE_AT)[0], bytes_
        at += max(_padded(size), ATTRIBUTE.size)
    return None


def _padded(size: int) -> int:
    return (size + 3) & ~3
