"""What every contender gets: the same 500-byte transactions, the same feature view, and the same model of real size."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import orjson
from aiokafka.partitioner import DefaultPartitioner

from scorer.bundles.bundle import create
from scorer.bundles.store import BundleStore
from scorer.pipeline.decode import decode
from scorer.pipeline.features import history
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView

TREES, LEAVES = 300, 63
CARDS = 10_000
BYTES = 500
#: 3 features of the event, 12 of velocity and these: 40 in all.
NUMBERS, FLAGS, CATEGORIES = 15, 6, 4
VALUES = tuple(f"v{i}" for i in range(12))
VIEW = FeatureView(
    name="bench",
    attributes=(
        *(Attribute(name=f"num_{i:02}", kind="number") for i in range(NUMBERS)),
        *(Attribute(name=f"flag_{i}", kind="boolean") for i in range(FLAGS)),
        *(Attribute(name=f"kind_{i}", kind="category", values=VALUES) for i in range(CATEGORIES)),
    ),
)
READING = Reading(attributes=VIEW.attributes)
#: First transaction, milliseconds since 1970; they come 10 ms apart.
START_MS, STEP_MS = 1_767_225_600_000, 10


#: Of every topic; an experiment on partitions runs in a process of its own, with another number.
PARTITIONS = int(os.environ.get("BENCH_PARTITIONS", "4"))


@dataclass(frozen=True)
class Workload:
    """keys: card ids. values: JSON transactions of about BYTES bytes. digest, candidate: bundles in the store."""

    keys: list[bytes]
    values: list[bytes]
    digest: str
    candidate: str

    def __len__(self) -> int:
        return len(self.values)

    def first(self, n: int) -> Workload:
        """The first n transactions."""
        return replace(self, keys=self.keys[:n], values=self.values[:n])

    @cached_property
    def partitions(self) -> list[int]:
        """Partition of each transaction, as Kafka's default partitioner has it."""
        every = list(range(PARTITIONS))
        return [DefaultPartitioner()(key, every, every) for key in self.keys]

    def of(self, partition: int) -> tuple[list[bytes], list[bytes]]:
        """Keys and values of a partition, in order."""
        mine = [at for at, p in enumerate(self.partitions) if p == partition]
        return [self.keys[at] for at in mine], [self.values[at] for at in mine]


def transactions(n: int, seed: int = 1) -> tuple[list[bytes], list[bytes]]:
    """Keys and values of n transactions, the same for the same seed."""
    rng = np.random.default_rng(seed)
    cards = rng.integers(0, CARDS, n)
    stamps = np.datetime_as_string((START_MS + STEP_MS * np.arange(n)).astype("datetime64[ms]"), unit="ms")
    amounts = np.round(rng.lognormal(3.3, 0.8, n), 2)
    numbers = np.round(rng.gamma(2.0, 10.0, (n, NUMBERS)), 1)
    flags = rng.random((n, FLAGS)) < 0.3
    kinds = rng.integers(0, len(VALUES), (n, CATEGORIES))
    keys, values = [], []
    for i in range(n):
        body = {
            "transaction_id": f"t{i:09}",
            "occurred_at": f"{stamps[i]}Z",
            "card_id": f"card-{cards[i]}",
            "merchant_id": f"merchant-{cards[i] * 7 % 997}",
            "amount": float(amounts[i]),
            "currency": "EUR",
            **{f"num_{j:02}": float(numbers[i, j]) for j in range(NUMBERS)},
            **{f"flag_{j}": bool(flags[i, j]) for j in range(FLAGS)},
            **{f"kind_{j}": VALUES[kinds[i, j]] for j in range(CATEGORIES)},
        }
        keys.append(body["card_id"].encode())
        values.append(orjson.dumps(body))
    return keys, values


def make(folder: Path, n: int) -> Workload:
    """The transactions, and two bundles in `folder/bundles` that block about 3 % of them and differ on a few."""
    (folder / "view.json").write_bytes(orjson.dumps(VIEW.model_dump(mode="json", exclude_defaults=True)))
    keys, values = transactions(n)
    _, sample = transactions(40_000, seed=2)
    matrix = history(VIEW, decode(sample, READING).events)
    digests = [_bundle(folder, matrix, seed) for seed in (3, 4)]
    return Workload(keys, values, *digests)


def _bundle(folder: Path, matrix: npt.NDArray[np.float64], seed: int) -> str:
    """A model with all the leaves it claims: slow learning and some noise, so that the last tree still has work."""
    rng = np.random.default_rng(seed)
    risk = np.log(matrix[:, 0]) + 0.1 * matrix[:, 15] + 0.5 * matrix[:, 3] + rng.normal(size=len(matrix)) / 2
    labels = (risk > np.quantile(risk, 0.97)).astype(int)
    parameters = {"objective": "binary", "num_leaves": LEAVES, "learning_rate": 0.05, "verbosity": -1, "seed": seed}
    booster = lightgbm.train({**parameters, "min_data_in_leaf": 5}, lightgbm.Dataset(matrix, labels), TREES)
    leaves = {tree["num_leaves"] for tree in booster.dump_model()["tree_info"]}
    assert (leaves, booster.num_trees()) == ({LEAVES}, TREES), f"{booster.num_trees()} trees of {leaves} leaves"
    threshold = float(np.quantile(booster.predict(matrix), 0.97))
    bundle = create(booster.model_to_string().encode(), VIEW.names, VIEW, threshold)
    BundleStore(str(folder / "bundles"), folder / "cache").put(bundle)
    return bundle.digest
