"""Whether the share of fraud that a training would learn is near enough to that of the model before. Pure.

A model learns whatever labels say. Fraud and legitimate swapped in a feed, or a feed that calls everything fraud, show
in the share of fraud before anything is trained; what judges a candidate later goes by the same labels, and agrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer.bundles.manifest import Manifest
from scorer.errors import UserError
from scorer.training.history import History

#: Standard normal quantile of a bound that is passed by chance in 1 of 200 cases.
Z = 2.5758293035489004


@dataclass(frozen=True)
class Labelled:
    """What is known of some transactions. known: how many have a label. frauds: of these.

    unknown: further ones that live blocked and nobody reviewed. They may all be fraud, or none.
    """

    known: int
    frauds: int
    unknown: int = 0

    @property
    def all(self) -> int:
        return self.known + self.unknown


def of_history(history: History, delay_ms: int, as_of_ms: int) -> Labelled:
    """What is known of transactions whose labels are mature. delay_ms: that labels take, milliseconds."""
    mature = history.occurred_ms <= as_of_ms - delay_ms
    blind: npt.NDArray[np.int64] = (
        np.zeros(0, dtype=np.int64) if history.unlabelled is None else history.unlabelled.occurred_ms
    )
    if len(history.occurred_ms):  # those before the first labelled one are out of the time that is looked at
        blind = blind[blind >= history.occurred_ms.min()]
    return Labelled(int(mature.sum()), int(history.labels[mature].sum()), int((blind <= as_of_ms - delay_ms).sum()))


def of_manifest(manifest: Manifest) -> Labelled | None:
    """What was known of the transactions that a bundle was made on; None if it does not say.

    Of an archive, the share that nobody could tell is taken to be that of all that was read: the manifest has no other.
    Of files, transactions without a label are not those that live blocked.
    """
    lineage, training = manifest.lineage, manifest.training
    if lineage is None:
        return None if training is None else Labelled(training.rows, training.frauds)
    parts = (lineage.split.fit, lineage.split.calibration, lineage.split.test)
    known, frauds = sum(part.transactions for part in parts), sum(part.frauds for part in parts)
    told = lineage.data.transactions - lineage.data.unknown
    unknown = round(known * lineage.data.unknown / told) if lineage.is_of_archive and told > 0 else 0
    return Labelled(known, frauds, unknown)


def require_near(found: Labelled, parent: Labelled | None, digest: str, factor: float) -> None:
    """Raise UserError if shares of fraud are further apart than a factor, either way, beyond chance, and whatever the
    transactions were of which nobody can tell.

    found: what a training would learn. parent: what the bundle before it learnt, None if nobody knows. digest: of that.
    factor: from 1.
    """
    if parent is None or not found.known or not parent.known:
        return
    if _log_ratio(found.frauds, found.all, parent.frauds + parent.unknown, parent.all) > np.log(factor):
        bound, doubt, look = "", "legitimate", "says fraud of what was legitimate"
        frauds, others = found.frauds, parent.frauds + parent.unknown
    elif _log_ratio(parent.frauds, parent.all, found.frauds + found.unknown, found.all) > np.log(factor):
        bound, doubt, look = "only ", "fraud", "says legitimate of what was fraud, or has stopped"
        frauds, others = found.frauds + found.unknown, parent.frauds
    else:
        return
    unknown = f", if the {found.unknown} that live blocked and nobody reviewed were {doubt}" if found.unknown else ""
    raise UserError(
        f"labels: {bound}{_percent(frauds, found.all)} of the {found.all} transactions with mature labels are fraud"
        f"{unknown}, and {_percent(others, parent.all)} of the {parent.all} that bundle {digest[:12]} was made on: "
        f"more than {factor:g} times apart (setting fraud_share_factor), and not by chance; look whether the feed of "
        f"labels {look}, have it send the right ones, and train as of a later time"
    )


def _log_ratio(frauds: int, of: int, others: int, of_others: int) -> float:
    """The logarithm of the lower bound of a ratio of two shares.

    Source: Katz et al. (1978), "Obtaining confidence intervals for the risk ratio in cohort studies", with a half added
    to each count, as Pettigrew, Gart and Thomas (1986) do, so that there may be none.
    """
    cells = (frauds + 0.5, of + 0.5, others + 0.5, of_others + 0.5)
    error = np.sqrt(1 / cells[0] - 1 / cells[1] + 1 / cells[2] - 1 / cells[3])
    return float(np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3]) - Z * error)


def _percent(some: int, of: int) -> str:
    """A share for people, with enough digits to tell small ones apart.

    >>> [_percent(1, 2), _percent(12, 1000), _percent(3, 10000), _percent(0, 7)]
    ['50 %', '1.2 %', '0.03 %', '0 %']
    """
    return f"{100 * some / of:.3g} %"
