"""What a scorer that nobody disturbs makes of the transactions on a topic: each partition in one piece, purely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from faults.ledger import Filling
from scorer.bundles.bundle import Bundle
from scorer.bundles.view_file import load_view
from scorer.deployments.slots import Slot
from scorer.pipeline.batch import Incoming, Published, Rules
from scorer.pipeline.features import states_of
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.money import Money
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading
from scorer.worker.live import live_model


@dataclass(frozen=True)
class Replayed:
    """decisions: by source offset. refused: source offsets of dead letters. states: packed row by card, of all cards.
    idle: cards that are dropped at the end at the latest."""

    decisions: dict[int, dict[str, Any]]
    refused: set[int]
    states: dict[bytes, bytes]
    idle: set[bytes]


def replay(
    partition: int, records: Sequence[Any], live: Filling, store: Path, env: Mapping[str, str], is_event_clock: bool
) -> Replayed:
    """Settle all records of a partition with the model that filled live at one epoch."""
    view = load_view(env["SCORER_VIEW"])
    money, names = Money.model_validate({}), FieldNames.model_validate({})
    rules = Rules(view, Reading(money, names, view.attributes), None if is_event_clock else 300_000)
    slot = Slot(live.epoch, live.digest, live.threshold)
    model = live_model(slot, Bundle.load(store / live.digest, live.digest), view)
    states = states_of(view, money.digits)
    incoming = Incoming(
        partition,
        [record.key for record in records],
        [record.value for record in records],
        np.array([record.offset for record in records], dtype=np.int64),
        np.array([record.timestamp for record in records], dtype=np.int64),
    )
    settled = settle(incoming, states, Published(), model, rules, None if is_event_clock else 0)
    decisions = [orjson.loads(value or b"") for _, value in settled.decisions]
    return Replayed(
        {decision["source"]["offset"]: decision for decision in decisions},
        {int(dict(headers)["offset"]) for headers in settled.headers},
        {key or b"": value or b"" for key, value in settled.states},
        {mark.record[0] or b"" for mark in settled.dropped},
    )
