"""Models that were trained on pandas data frames, as most are: with categories, names and objectives of many kinds."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd

from scorer.pipeline.view import Attribute, FeatureView

COUNTRIES = ("DE", "ES", "FR", "GB")
#: MCC as numbers, which is how many tables hold them.
MCCS = (4121, 5411, 5812)
VIEW = FeatureView(
    name="v",
    attributes=(
        Attribute(name="country", kind="category", values=COUNTRIES),
        Attribute(name="mcc", kind="category", values=tuple(map(str, MCCS))),
        Attribute(name="cross_border", kind="boolean"),
    ),
)
FEATURES = ("amount", "country", "mcc", "cross_border", "hour_of_day")


def a_frame(rows: int = 2000, seed: int = 0) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Transactions and their labels. The categories' order is by no means the view's; some values are missing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, rows),
            "country": pd.Categorical(rng.choice(COUNTRIES, rows), categories=["GB", "FR", "DE", "ES"]),
            "mcc": pd.Categorical(rng.choice(MCCS, rows), categories=list(reversed(MCCS))),
            "cross_border": rng.random(rows) < 0.3,
            "hour_of_day": rng.integers(0, 24, rows),
        }
    )
    frame.loc[rng.random(rows) < 0.03, "country"] = None
    frame.loc[rng.random(rows) < 0.02, "amount"] = np.nan
    risk = (
        (frame.country == "ES") * 1.2 + (frame.mcc == 5812) * 0.8 + frame.cross_border + 0.01 * frame.amount.fillna(0)
    )
    return frame, (risk + rng.normal(size=rows) > 2.4).to_numpy().astype(np.int64)


def snapshot(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """The rows as the scorer sees them: the view's codes. Written out here, for it is what ours is held against."""
    matrix = np.full((len(frame), 5), np.nan)
    for at, row in enumerate(frame.itertuples(index=False)):
        matrix[at, 0] = row.amount
        if isinstance(row.country, str):
            matrix[at, 1] = COUNTRIES.index(row.country) if row.country in COUNTRIES else len(COUNTRIES)
        if row.mcc == row.mcc:
            matrix[at, 2] = MCCS.index(row.mcc) if row.mcc in MCCS else len(MCCS)
        matrix[at, 3], matrix[at, 4] = float(row.cross_border), row.hour_of_day
    return matrix


def trained(frame: pd.DataFrame, labels: npt.NDArray[Any], trees: int = 20, **params: Any) -> lightgbm.Booster:
    fit = {"objective": "binary", "verbosity": -1, "num_leaves": 15, "num_threads": 1, "seed": 1, **params}
    return lightgbm.train(fit, lightgbm.Dataset(frame, labels), trees)
