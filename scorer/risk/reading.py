"""Decisions and labels off their topics, as merchant risk takes them. What is neither is passed over and counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from scorer.pipeline.decision_avro import decision_of, is_avro
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.merchant_risk import Past
from scorer.pipeline.velocity import id_hashes

log = logging.getLogger(__name__)

FRAUD, VERDICTS = "fraud", ("fraud", "legit", "unsure", "open")


class Reading:
    """Adds records to a past. is_wall: a label is known when it has come, else at the time that it bears itself.

    newest_ms: time of the newest transaction, milliseconds since 1970.
    """

    def __init__(self, past: Past, is_wall: bool) -> None:
        self._past, self._is_wall = past, is_wall
        self._said: set[str] = set()
        self.newest_ms: int | None = None

    def decisions(self, records: Sequence[Any]) -> None:
        """Take decisions. Refunds are no payments; of several on one transaction the first counts."""
        key = self._past.risk.key
        ids: list[str] = []
        keys: list[str | None] = []
        occurred: list[int] = []
        minor: list[int] = []
        for record in records:
            try:
                found = _decision(record.value)
                if found.get("refund"):
                    continue
                transaction = found["transaction"]
                one = (
                    _typed(transaction["transaction_id"], str),
                    _typed(transaction.get(key), str, type(None)),
                    instant_ms(transaction["occurred_at"]),
                    _typed(found["amount_minor"], int),
                )
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._pass_over("decisions", record, error)
                continue
            ids.append(one[0])
            keys.append(one[1])
            occurred.append(one[2])
            minor.append(one[3])
        if ids:
            moments = np.array(occurred, dtype=np.int64)
            self._past.add(id_hashes(ids), keys, moments, np.array(minor, dtype=np.int64))
            self.newest_ms = max(int(moments.max()), self.newest_ms or 0)

    def labels(self, records: Sequence[Any]) -> None:
        """Take labels that name a transaction by its id. The others, by card and second, are passed over."""
        ids: list[str] = []
        frauds: list[bool] = []
        known: list[int] = []
        for record in records:
            try:
                label = orjson.loads(record.value or b"")
                name = label.get("transaction_id")
                verdict, at_ms = label["verdict"], instant_ms(label["at"])
                if verdict not in VERDICTS:
                    raise ValueError(f"verdict is none of {', '.join(VERDICTS)}")
                if name is None:
                    continue
                ids.append(_typed(name, str))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._pass_over("labels", record, error)
                continue
            frauds.append(verdict == FRAUD)
            known.append(record.timestamp if self._is_wall and record.timestamp > 0 else at_ms)
        if ids:
            self._past.label(id_hashes(ids), frauds, known)

    def _pass_over(self, topic: str, record: Any, error: Exception) -> None:
        if topic not in self._said:
            self._said.add(topic)
            log.warning(
                "%s: passed over the record at offset %d of partition %d and maybe others, which is none of ours: %s",
                topic, record.offset, record.partition, type(error).__name__,
            )  # fmt: skip


def _decision(value: bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = decision_of(value) if value and is_avro(value) else orjson.loads(value or b"")
    return found


def _typed(cell: Any, *kinds: type) -> Any:
    if type(cell) not in kinds:
        raise ValueError(f"expected {kinds[0].__name__}")
    return cell
