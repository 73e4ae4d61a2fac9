"""From what a model answers to a probability of fraud: a declared link, then a calibration. Both are monotone.

Live and candidate go through the same code, and each row by itself, so a score does not depend on its batch.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from scorer.pipeline.batch import Matrix

#: A calibration by a logistic curve leaves this much room at 0 and 1, where log-odds are infinite.
EDGE = 1e-15


class Sigmoid(BaseModel):
    """Answers are log-odds, as those of an objective of the trainer's own often are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sigmoid"]

    def applied(self, answers: Matrix) -> Matrix:
        """Probabilities, float64 of the same shape."""
        return _sigmoid(answers)


class Identity(BaseModel):
    """Answers are on a scale from `low` to `high`, such as 0 to 1000. What is beyond it counts as its end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["identity"]
    low: FiniteFloat = 0.0
    high: FiniteFloat = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self

    def applied(self, answers: Matrix) -> Matrix:
        """Probabilities, float64 of the same shape."""
        return np.clip((answers - self.low) / (self.high - self.low), 0.0, 1.0)


class Platt(BaseModel):
    """A logistic curve over the log-odds: sigmoid(slope * logit(p) + intercept). Source: Platt 1999."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["platt"]
    slope: FiniteFloat = Field(gt=0)
    intercept: FiniteFloat

    def applied(self, scores: Matrix) -> Matrix:
        """Calibrated probabilities, float64 of the same shape."""
        kept = np.clip(scores, EDGE, 1 - EDGE)
        return _sigmoid(self.slope * np.log(kept / (1 - kept)) + self.intercept)


class Isotonic(BaseModel):
    """Steps joined by lines, as scikit-learn's IsotonicRegression gives them: x_thresholds, y_thresholds.

    Source: Zadrozny and Elkan 2002.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["isotonic"]
    x: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=2, max_length=10_000)
    y: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=2, max_length=10_000)

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"{len(self.x)} x and {len(self.y)} y, expected as many of both")
        if any(a >= b for a, b in zip(self.x, self.x[1:], strict=False)):
            raise ValueError("x does not increase")
        if any(a > b for a, b in zip(self.y, self.y[1:], strict=False)):
            raise ValueError("y decreases somewhere; a higher score must not mean less risk")
        return self

    def applied(self, scores: Matrix) -> Matrix:
        """Calibrated probabilities, float64 of the same shape."""
        calibrated: Matrix = np.interp(scores, self.x, self.y)
        return calibrated


Link = Annotated[Sigmoid | Identity, Field(discriminator="kind")]
Calibration = Annotated[Platt | Isotonic, Field(discriminator="kind")]


def probabilities(answers: Matrix, link: Sigmoid | Identity | None, calibration: Platt | Isotonic | None) -> Matrix:
    """Probabilities of fraud from a model's answers: float64 (n,) to float64 (n,). NaN stays NaN."""
    scores = answers if link is None else link.applied(answers)
    return scores if calibration is None else calibration.applied(scores)


def _sigmoid(margins: Matrix) -> Matrix:
    with np.errstate(over="ignore"):  # exp of a large number is inf, and the quotient 0
        scores: Matrix = 1.0 / (1.0 + np.exp(-margins))
    return scores
