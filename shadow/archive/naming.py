"""Which rows of the archive name a card: in its own column, or anywhere in a text of theirs. No input or output."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

#: Columns that bear the card or the transaction itself, and nothing else.
CARD, TRANSACTION, HEADERS = "card_id", "transaction_id", "headers"


#: Characters of a card from which on it is looked for within texts, too: a shorter one, such as 42, is in many.
LONG = 8


#: Columns in which a card may be named beside its own: what a sender or a person wrote.
TEXTS = ("others", "more", "raw", "reason", "key", "value")


class Named:
    """A card, and the transactions that are its own.

    in_columns, in_texts: whether a row is found by the columns of cards and transactions, and by its texts. A text
    names the card if it is the card, or has it as a value in JSON. A card of LONG characters or more is also named by
    a text in which it stands by itself (`c-1` does not in `c-12`), and by bytes that are no text wherever they have it.
    """

    def __init__(
        self, card: str, transactions: Collection[str] = (), in_columns: bool = True, in_texts: bool = True
    ) -> None:
        self.card, self.transactions = card, pa.array(sorted(transactions), pa.string())
        self._in_columns, self._in_texts = in_columns, in_texts
        # as a JSON text may write it: with its characters as they are, or escaped
        self._forms = sorted({card, json.dumps(card)[1:-1], json.dumps(card, ensure_ascii=False)[1:-1]})
        self._bytes = [form.encode() for form in self._forms]
        alone = r"(?<![\w-]){}(?![\w-])" if len(card) >= LONG else r'\A{0}\Z|"{0}"(?!\s*:)'
        self._alone = re.compile("|".join(alone.format(re.escape(form)) for form in self._forms))

    def rows(self, batch: pa.RecordBatch | pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows name it: bool (n,)."""
        found, names = np.zeros(batch.num_rows, dtype=bool), batch.schema.names
        if CARD in names and self._in_columns:
            found |= _true(pc.equal(_plain(batch[CARD]), self.card))
        if TRANSACTION in names and self._in_columns and len(self.transactions):
            found |= _true(pc.is_in(_plain(batch[TRANSACTION]), value_set=self.transactions))
        if self._in_texts:
            for name in TEXTS:
                if name in names:
                    found |= self._in(_plain(batch[name]))
            if HEADERS in names:
                cells = batch[HEADERS].to_pylist()
                found |= np.array([any(self.is_in(one["value"]) for one in cell or ()) for cell in cells], dtype=bool)
        return found

    def _in(self, column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.bool_]:
        some = np.zeros(len(column), dtype=bool)
        for form in self._bytes if pa.types.is_binary(column.type) else self._forms:
            some |= _true(pc.match_substring(column, form))
        for at in np.flatnonzero(some).tolist():
            some[at] = self.is_in(column[at].as_py())
        return some

    def is_in(self, cell: str | bytes | None) -> bool:
        """Whether a text or bytes name the card."""
        if cell is None:
            return False
        if isinstance(cell, bytes):
            try:
                cell = cell.decode()
            except UnicodeDecodeError:
                return len(self.card) >= LONG and any(form in cell for form in self._bytes)
        return self._alone.search(cell) is not None


def _plain(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """A column of texts or bytes in the layout that pyarrow computes with; a reader may hand out views."""
    is_bytes = pa.types.is_binary(column.type) or pa.types.is_binary_view(column.type)
    return column.cast(pa.binary() if is_bytes else pa.string())


def _true(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.fill_null(column, False).to_numpy(zero_copy_only=False), dtype=bool)
