"""The examples of docs/records.md do what the page says."""

from __future__ import annotations

import re

import orjson
import pytest
import yaml

from harness.places import ROOT
from scorer.pipeline.decode import decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading

EXAMPLES = re.findall(r"```yaml\n(.*?)```\n```json\n(.*?)\n```", (ROOT / "docs" / "records.md").read_text(), re.DOTALL)


@pytest.mark.parametrize(("section", "record"), EXAMPLES, ids=range(1, len(EXAMPLES) + 1))
def test_an_example_is_read(section: str, record: str) -> None:
    mapping = FieldNames.model_validate(yaml.safe_load(section))
    decoded = decode([record.encode()], Reading(mapping=mapping))
    assert decoded.refusals == []
    events = decoded.events
    assert (events.ids, events.cards, events.amount.tolist()) == (["t1"], ["card-1"], [12.5])
    assert events.occurred_ms.tolist() == [1769860800000]
    assert orjson.loads(events.documents[0])["currency"] == "EUR"


def test_there_are_twelve() -> None:
    assert len(EXAMPLES) == 12
