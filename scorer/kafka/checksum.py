"""CRC-32C by the processor's own instruction, where the extra `fast` is installed.

aiokafka computes it by tables, nine times as long: it is built without that instruction. A batch that was read is
checked here; one that is written gets its sum inside aiokafka's builder, where nobody else can.
"""

from __future__ import annotations

from collections.abc import Callable


def _found() -> Callable[[bytes], int] | None:
    try:
        import google_crc32c
    except ImportError:
        return None
    # its third implementation is Python, and far slower than aiokafka's tables
    return google_crc32c.value if google_crc32c.implementation == "c" else None


#: The sum of bytes; None where aiokafka's own is the fastest there is.
CRC32C = _found()
