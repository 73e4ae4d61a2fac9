"""Windows, deltas and a feature in Python on a running system: what is served is what a batch computes, to the bit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from harness.models import Models
from harness.stack import PARTITIONS, Stack, by_source, wait_for, write_lines
from scorer.bundles.view_file import load_view
from scorer.pipeline.decode import decode
from scorer.pipeline.features import Past
from scorer.pipeline.transaction import Reading
from scorer.pipeline.window_states import PREFIX

MORE = """
deltas: [since_last, from_mean]
windows:
- {name: merchant_amount_6h, key: merchant_id, window: 6h, aggregate: sum, of: amount}
- {name: merchant_mean_6h, key: merchant_id, window: 6h, aggregate: mean, of: amount}
- {name: channel_count_20d, key: [channel, country], window: 20d, aggregate: count}
- {name: card_count_90m, window: 90m, aggregate: count}
- {name: card_merchants_24h, window: 24h, aggregate: distinct, of: merchant_id}
functions:
- {name: share_of_6h, version: 1, uses: [amount, merchant_amount_6h]}
"""
CODE = """
import numpy as np
from scorer.pipeline.function import Feature

def _share(columns):
    amount, total = columns.features["amount"], columns.features["merchant_amount_6h"]
    if (amount > 2000).any():
        raise ValueError("too much")
    return amount / (amount + total)

share_of_6h = Feature("1", _share)
"""


def rows_of(n: int) -> list[dict[str, Any]]:
    """Over 60 days: busy cards and rare ones, some transactions late by up to 12 days, some sent twice."""
    random = np.random.default_rng(11)
    at = np.datetime64("2026-01-01T00:00:00", "ms") + (np.arange(n) * (60 * 86_400_000 // n)).astype("timedelta64[ms]")
    is_late = random.random(n) < 0.05
    at = at - (is_late * random.choice([600, 20_000, 90_000, 1_000_000], n) * 1000).astype("timedelta64[ms]")
    card, amount = (random.pareto(1.0, n) * 20).astype(int) % 900, np.round(random.gamma(1.0, 200.0, n), 2)
    rows = [
        {
            "transaction_id": f"t{i}", "occurred_at": f"{at[i]}Z", "card_id": f"c{card[i]}",
            "merchant_id": f"m{random.integers(9)}", "amount": float(amount[i]), "currency": "EUR",
            "country": ["DE", "FR", "ZZ", None][random.integers(4)], "channel": ["online", "pos"][random.integers(2)],
        }
        for i in range(n)
    ]  # fmt: skip
    return [row for i, row in enumerate(rows) for _ in range(2 if i % 50 == 7 else 1)]


@pytest.fixture
def view(models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A view whose function is that of an installed package."""
    package = tmp_path / "package"
    info = package / "shop_features-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-features\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[scorer.features]\nshare_of_6h = shop_share:share_of_6h\n")
    (package / "shop_share.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]))
    path = tmp_path / "features.yaml"
    path.write_text(Path(models.env["SCORER_VIEW"]).read_text() + MORE)
    return path


async def send(stack: Stack, rows: list[dict[str, Any]]) -> None:
    """As they come, and not in order of time."""
    async with AIOKafkaProducer(bootstrap_servers=stack.broker.address, linger_ms=5) as producer:
        for row in rows:
            await producer.send("transactions", orjson.dumps(row), row["card_id"].encode())


def in_batch(stack: Stack, path: Path) -> dict[tuple[int, int], np.ndarray]:
    """Snapshots by partition and offset, as a batch computes them from what is on the topic."""
    view, found = load_view(path), {}
    for partition, group in groupby(stack.read("transactions"), key=lambda record: record.partition):
        records = list(group)
        decoded = decode([record.value for record in records], Reading(attributes=view.attributes))
        assert decoded.refusals == []
        matrix = Past(view).snapshots(decoded.events)
        found |= {(partition, record.offset): row for record, row in zip(records, matrix, strict=True)}
    return found


@pytest.mark.parametrize("n", [6_000, pytest.param(100_000, marks=pytest.mark.variant)])
def test_snapshots_are_those_of_a_batch_through_a_rebalance_and_a_kill(
    stacks: Callable[[], Stack], view: Path, n: int
) -> None:
    stack = stacks()
    stack.env["SCORER_VIEW"] = str(view)
    rows = rows_of(n)
    first = stack.start("scorer", "run")
    third = len(rows) // 3
    asyncio.run(send(stack, rows[:third]))
    wait_for("some", lambda: first.metric("scorer_transactions_total") > third / 3)
    second = stack.start("scorer", "run")
    asyncio.run(send(stack, rows[third : 2 * third]))
    wait_for("both", lambda: second.metric("scorer_transactions_total") > 0)
    asyncio.run(send(stack, rows[2 * third :]))
    first.kill()
    stack.until_settled(len(rows))
    served, computed = by_source(stack.decisions()), in_batch(stack, view)
    assert served.keys() == computed.keys()
    assert len({partition for partition, _ in served}) == PARTITIONS
    names = load_view(view).names
    told = np.array([served[at]["features"] for at in computed], dtype=np.float64)
    wanted = np.array(list(computed.values()))
    apart = (told != wanted) & ~(np.isnan(told) & np.isnan(wanted))
    assert {name: int(column.sum()) for name, column in zip(names, apart.T, strict=True) if column.any()} == {}
    for name in names[-11:]:  # or there would be nothing to compare
        column = wanted[:, names.index(name)]
        assert len(np.unique(column[~np.isnan(column)])) >= 2, name
    assert np.isnan(wanted[:, -1]).sum() == (wanted[:, 0] > 2000).sum() + (wanted[:, [0, -6]] == 0).all(axis=1).sum()
    assert second.stop() == 0


def test_an_erased_card_is_gone_from_windows_also_on_the_changelog(
    stacks: Callable[[], Stack], view: Path, models: Models
) -> None:
    stack = stacks()
    stack.env["SCORER_VIEW"] = str(view)
    rows = [{**row, "card_id": f"c{i % 3}"} for i, row in enumerate(rows_of(60))]
    scorer = stack.start("scorer", "run")
    stack.run("scorer", "replay", str(write_lines(stack.folder / "rows.jsonl", rows)))
    stack.until_settled(len(rows))
    stack.run("shadow", "erase", "--card", "c1")
    scorer.kill()
    last = {record.key: record.value for record in stack.read("velocity") if record.key.startswith(PREFIX)}
    of_card = {key: value for key, value in last.items() if b"/2:c1" in key}
    assert len(of_card) > 3
    assert set(of_card.values()) == {None}
    assert any(value is not None for key, value in last.items() if b"/2:c2" in key)
    stack.start("scorer", "run")
    again = {**rows[-1], "card_id": "c1", "transaction_id": "again"}
    stack.run("scorer", "replay", str(write_lines(stack.folder / "again.jsonl", [again])))
    stack.until_settled(len(rows) + 1)
    (decision,) = [one for one in stack.decisions() if one["transaction"]["transaction_id"] == "again"]
    told = dict(zip(load_view(view).names, decision["features"], strict=True))
    assert (told["channel_count_20d"], told["card_seconds_since_last"]) == (0, None)


def test_a_function_that_is_not_there_stops_the_start_with_one_line(stacks: Callable[[], Stack], view: Path) -> None:
    view.write_text(view.read_text().replace("share_of_6h, version: 1", "share_of_6h, version: 2"))
    line = stacks().fails("scorer", "run", SCORER_VIEW=str(view))
    assert "feature share_of_6h: the view declares version 2, and 1 is installed" in line


def test_a_function_that_ends_its_process_keeps_a_bundle_from_becoming_live_and_live_goes_on(
    stacks: Callable[[], Stack], view: Path, models: Models
) -> None:
    """It was installed anew under a worker that decides, as a new release of a package is."""
    stack = stacks()
    stack.env["SCORER_VIEW"] = str(view)
    history = str(models.history)
    with_it = ("scorer", "train", history, "--features", "amount,country,share_of_6h", "--param", "num_iterations=5")
    digest = stack.run(*with_it)
    stack.deploy(digest, "candidate")
    scorer = stack.start("scorer", "run")
    module = next(
        Path(part) / "shop_share.py" for part in os.environ["PYTHONPATH"].split(os.pathsep) if "package" in part
    )
    module.write_text(CODE.replace("    amount, total", "    import os; os._exit(3)\n    amount, total"))
    told = stack.run("shadow", "approve", "--force", "--by", "ann", "--reason", "a drill", expect=1)
    assert "runs epoch 1, feature share_of_6h: its check ended the process with exit code 3" in told
    assert "exit code 3" in stack.fails("scorer", "run"), "nor does a worker that begins now"
    stack.run("scorer", "replay", str(write_lines(stack.folder / "rows.jsonl", rows_of(50))))
    stack.until_settled(50)
    assert {decision["bundle"] for decision in stack.decisions()} == {models.live}
    module.write_text(CODE)
    wait_for("loaded once it does", lambda: scorer.metric("scorer_live_epoch") == 2)
