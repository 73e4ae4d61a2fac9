"""The content of a file as text: decompressed, and decoded by its own encoding, never mangled by another."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path

import cramjam

from scorer.errors import UserError

GZIP, ZSTD, ZIP, OLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
#: Byte order marks; the longer ones first, as UTF-32's begins like UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Suffixes of compressed files.
COMPRESSED = (".gz", ".zst")


class EncodingError(UserError):
    """A text is not in the encoding that it was read by."""


def content_of(path: Path) -> bytes:
    """The bytes of a file, decompressed. Raises UserError that names the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file that can be read") from None
    try:
        if content.startswith(GZIP):
            content = gzip.decompress(content)
        elif content.startswith(ZSTD):
            content = bytes(cramjam.zstd.decompress(content))
    except (OSError, EOFError, zlib.error, cramjam.DecompressionError) as error:
        raise UserError(f"{path}: cannot be decompressed ({str(error).splitlines()[0]}); copy it again") from None
    if content.startswith((ZIP, OLE)):
        raise UserError(f"{path}: is an archive or a workbook of Excel; unpack it, or save it as CSV")
    return content


def text_of(content: bytes, encoding: str | None, where: object) -> str:
    """Decode the content of a file.

    encoding: as stated, None if it is to be told: by the byte order mark, by the zero bytes of UTF-16, else it is
    UTF-8. where: the file, for messages. Raises EncodingError that names the line and the mend.
    """
    for mark, marked in _MARKS:
        if content.startswith(mark):
            content, encoding = content[len(mark) :], marked
            break
    else:
        encoding = encoding or _unmarked(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        mend = "state another" if encoding != "utf-8" else "state its encoding"
        raise EncodingError(
            f"{where}: line {line}: not {encoding} at byte {error.start}; {mend} in the setting files.encoding, such "
            "as cp1252"
        ) from None


def _unmarked(content: bytes) -> str:
    """UTF-16 shows by zeros in every other byte of plain letters; all else has to be UTF-8."""
    start = content[:1000]
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if len(start) >= 4 and max(even, odd) * 4 > len(start):
        return "utf-16-be" if even > odd else "utf-16-le"
    return "utf-8"
