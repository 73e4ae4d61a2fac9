"""How a file of transactions is written, where neither the file nor the mapping of its fields says it."""

from __future__ import annotations

import codecs
import re
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scorer.frozen import Frozen
from scorer.pipeline.formats import Format

_PART = re.compile(r"\{([^{}]+)\}")


def _codec(name: str) -> str:
    try:
        codec = codecs.lookup(name)
        "".encode(codec.name)  # which refuses a codec that is not of texts
    except (LookupError, ValueError):
        raise ValueError(f"{name[:60]!r} is no encoding; write it as utf-8, utf-16 or cp1252") from None
    return name


def _template(text: str) -> str:
    rest = _PART.sub("", text)
    if rest == text or "{" in rest or "}" in rest:
        raise ValueError(f"{text[:60]!r} names no column; write it as '{{Date}} {{Time}}'")
    return text


Id = Literal["transaction_id", "card_id", "merchant_id"]
Encoding = Annotated[str, AfterValidator(_codec)]
Template = Annotated[str, AfterValidator(_template)]


class Layout(Frozen):
    """How a file of transactions or labels is written."""

    encoding: Encoding | None = Field(
        None, description="of texts, such as `cp1252`; default: told by the byte order mark, else UTF-8"
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1, pattern=r"^[^\"\r\n]$")] | None = Field(
        None, description="between the cells of a CSV file; default: comma, semicolon, tab or bar, told by the header"
    )
    quotes: bool = Field(True, description='whether `"` around a cell is no part of it')
    compose: dict[str, Template] = Field(
        default_factory=dict,
        description="our fields that are made of several columns: `{occurred_at: '{Date} {Time}'}`",
    )
    tokens: tuple[Id, ...] = Field(
        (),
        description="ids that are replaced by a keyed hash, such as card numbers; the key is the setting `token_key`",
    )
    label_times: Format | None = Field(
        None, description="how times of labels are written, as in `mapping.formats`; default: as `occurred_at`"
    )

    @cached_property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The columns that each composed field is made of."""
        return {ours: tuple(_PART.findall(text)) for ours, text in self.compose.items()}

    def composed(self, ours: str, cells: dict[str, object]) -> str | None:
        """A field made of the cells of a row, None if all of its parts are empty. A cell that is None is empty.

        >>> Layout(compose={"card_id": "{User}-{Card}"}).composed("card_id", {"User": 7, "Card": 0})
        '7-0'
        """
        found = {name: cells.get(name) for name in self.parts[ours]}
        if all(cell is None for cell in found.values()):
            return None
        return _PART.sub(lambda part: _text(found[part[1]]), self.compose[ours]).strip()


def _text(cell: object) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell)
