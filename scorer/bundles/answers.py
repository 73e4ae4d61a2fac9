"""What the answers of a model are: whether they can be read as probabilities of fraud, and how high they are."""

from __future__ import annotations

import numpy as np

from scorer.bundles.model_text import MODEL, PROBABILITIES, ModelText
from scorer.bundles.scale import Identity, Link, Sigmoid, probabilities
from scorer.errors import BundleError

#: Objectives whose answers say only which of several rows comes first.
RANKING = ("lambdarank", "rank_xendcg")
#: Mean score of the rows that a model was trained on from which its positive class is hardly fraud.
COMMON = 0.8


def mean_score(text: ModelText, link: Link | None) -> float | None:
    """Mean score of the rows that a model was trained on, roughly, None if the model does not say.

    By its trees' leaves and the rows in them: the mean of the margins, as a probability.
    """
    mean = text.mean_margin
    if mean is None:
        return None
    if text.objective in PROBABILITIES:
        link = Sigmoid(kind="sigmoid")
    if isinstance(link, Identity) and text.objective not in ("regression", None):
        return None  # answers of other objectives are not margins
    return float(probabilities(np.array([mean]), link, None)[0])


def check_answers(text: ModelText, link: Link | None) -> None:
    """Raise BundleError unless each row gets one answer, and it is known how to read it as a probability."""
    if text.classes != 1:
        raise BundleError(
            f"{MODEL}: objective {text.objective}: answers with {text.classes} numbers a row, expected one score; "
            "train with objective binary"
        )
    if text.objective in PROBABILITIES:
        if link is not None:
            raise BundleError(
                f"link: the answers of objective {text.objective} are probabilities already; leave --link out"
            )
    elif text.objective in RANKING:
        raise BundleError(f"{MODEL}: objective {text.objective}: ranks, and says no risk; train with objective binary")
    elif link is None:
        named = f"objective {text.objective}" if text.objective else "an objective of the trainer's own"
        raise BundleError(
            f"{MODEL}: {named}: its answers are not probabilities; train with objective binary, or declare "
            "them: --link sigmoid for log-odds, --link 0:1000 for a scale"
        )
