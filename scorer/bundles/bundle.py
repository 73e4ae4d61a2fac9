"""A bundle: a LightGBM model and its manifest (features, threshold, origin), under the digest of their content."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.bundles import model_text
from scorer.bundles.answers import check_answers
from scorer.bundles.manifest import MANIFEST, Manifest, describe, read_manifest
from scorer.bundles.model_text import MODEL, ModelText
from scorer.bundles.names import recoded
from scorer.bundles.predictor import FAST, LIGHTGBM, Predict, fast
from scorer.bundles.scale import probabilities
from scorer.errors import BundleError
from scorer.pipeline.batch import Matrix
from scorer.pipeline.view import FeatureView


class Silent:
    """Drops LightGBM's log lines. Errors are raised as exceptions anyway."""

    def info(self, msg: str) -> None:
        """Dropped."""

    def warning(self, msg: str) -> None:
        """Dropped."""


#: What LightGBM loads if it is installed, for ways of training that nothing here uses: 1.3 s of CPU time and 100 MB in
#: every process (two cores, 2026-11-28).
_UNUSED = ("sklearn", "pandas", "pyarrow", "dask", "matplotlib", "graphviz")


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Packages that are not imported yet are not found by who looks for them meanwhile."""
    names = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # None says that there is none
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


@cache
def library() -> Any:
    """LightGBM, silenced. Loaded when it is first asked for, as `shadow serve` opens no model; workers ask at their
    start."""
    with _hidden(*_UNUSED):
        import lightgbm

    lightgbm.register_logger(Silent())
    return lightgbm


@dataclass(frozen=True)
class Bundle:
    """A model and its manifest.

    digest: SHA-256 of the content, as hex. model, manifest_bytes: the bytes of the files, from which it was computed.
    quick: the fast predictor, if it serves; then LightGBM parses the model only if contributions are asked for.
    """

    digest: str
    manifest: Manifest
    model: bytes
    manifest_bytes: bytes
    quick: Predict | None = field(default=None, repr=False, compare=False)

    @property
    def predictor(self) -> str:
        """Name of what predicts."""
        return LIGHTGBM if self.quick is None else FAST

    def quickened(self) -> Bundle:
        """The same bundle with the fast predictor. Raises `scorer.bundles.predictor.UnfitError` if it cannot load it.

        Only for a bundle for which a child process has compared the two.
        """
        return replace(self, quick=fast(self.model))

    @property
    def threshold(self) -> float:
        """Probability from which the model blocks."""
        return self.manifest.threshold

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the model's order."""
        return self.manifest.features

    @cached_property
    def text(self) -> ModelText:
        """What the model's text says about it."""
        return model_text.read(self.model)

    @cached_property
    def _booster(self) -> Any:
        return _parsed(self.model, self.features)

    @cached_property
    def _recoded(self) -> list[tuple[int, npt.NDArray[np.float64]]]:
        return recoded(self.text, self.features, self.manifest.view.features)

    def _as_trained(self, matrix: Matrix) -> Matrix:
        """The matrix with the model's own codes of categories; the same one if they are the view's."""
        if self._recoded:
            matrix = matrix.copy()
            for at, table in self._recoded:
                codes = matrix[:, at]
                listed = (codes >= 0) & (codes < len(table) - 2)
                matrix[:, at] = table[np.where(listed, codes, len(table) - 1).astype(np.int64)]
        return matrix

    def columns(self, view: FeatureView) -> npt.NDArray[np.int64]:
        """Columns of the model's k features in a snapshot of a view: int64 (k,).

        Raises BundleError if the view lacks one, or defines it differently than when the model was made.
        """
        return self.columns_in(view.names, view.definitions(view.names))

    def columns_in(self, names: tuple[str, ...], definitions: dict[str, dict[str, Any]]) -> npt.NDArray[np.int64]:
        """`columns` for a view given by the names of its features, in order, and their definitions."""
        for i, name in enumerate(self.features):
            if name not in definitions or name not in names:
                raise BundleError(
                    f"bundle {self.digest[:12]}: features[{i}] {name} is not in the feature view; add it there first"
                )
            if definitions[name] != self.manifest.view.features[name]:
                raise BundleError(
                    f"bundle {self.digest[:12]}: features[{i}] {name} has another definition in the feature view; "
                    "train the model again on this view"
                )
        return np.array([names.index(name) for name in self.features], dtype=np.int64)

    def score(self, matrix: Matrix) -> Matrix:
        """Probability of fraud of each of n rows: float64 (n,). A row's score does not depend on the other rows.

        matrix: float64 (n, k), the model's features in its order; NaN where a value is missing.
        """
        return probabilities(self.answers(matrix), self.manifest.link, self.manifest.calibration)

    def answers(self, matrix: Matrix) -> Matrix:
        """What the model itself answers, before link and calibration: float64 (n,). matrix: as for `score`."""
        if not len(matrix):
            return np.empty(0)
        trained = self._as_trained(matrix)
        return self.predict(trained) if self.quick is None else self.quick(trained)

    def predict(self, trained: Matrix) -> Matrix:
        """LightGBM's answers: float64 (n,). trained: float64 (n, k), with the model's own codes of categories."""
        answers: Matrix = self._booster.predict(trained, num_threads=1)
        return answers

    def contributions(self, matrix: Matrix) -> Matrix:
        """Contribution of each feature to the raw score of n rows (log-odds): float64 (n, k + 1).

        The last column is the expected value. matrix: as for `score`. Raises BundleError if leaves hold linear models,
        for which LightGBM has no contributions.
        """
        if self.text.is_linear:
            raise BundleError(f"bundle {self.digest[:12]}: {MODEL}: linear trees have no contributions")
        trained = self._as_trained(matrix)
        contributions: Matrix = self._booster.predict(trained, num_threads=1, pred_contrib=True)
        return contributions

    def importance(self) -> dict[str, float]:
        """What share of all gains each feature's splits have."""
        gains = np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
        return dict(zip(self.features, (gains / (gains.sum() or 1.0)).tolist(), strict=True))

    def warm(self) -> None:
        """Score rows of every kind, alone and together. Raises BundleError if an answer is not one probability a row:
        the objective is another one, or the model is damaged."""
        rows = self._rows_of_every_kind()
        noise = np.random.default_rng(0).normal(scale=100.0, size=(256, len(self.features)))
        noise[noise > 250] = np.nan
        for matrix in (rows[:1], rows, np.vstack([rows, noise])):
            try:
                scores = self.score(matrix)
            except Exception as error:  # LightGBM's own, and numpy's
                raise BundleError(
                    f"bundle {self.digest[:12]}: {MODEL}: cannot score ({_line(error)}); train it again"
                ) from None
            if scores.shape != (len(matrix),):
                raise BundleError(
                    f"bundle {self.digest[:12]}: {MODEL}: answers of shape {scores.shape} for {len(matrix)} rows, "
                    "expected one score a row; train with objective binary"
                )
            is_due = np.isfinite(matrix).any(axis=1) | np.isnan(matrix).all(axis=1) if self.text.is_linear else True
            bad = scores[is_due & ~((scores >= 0) & (scores <= 1))]
            if bad.size:
                raise BundleError(
                    f"bundle {self.digest[:12]}: {MODEL}: scores are not probabilities ({bad[0]:g}); "
                    "train with objective binary"
                )

    def explain(self) -> None:
        """Ask for the contributions to rows of every kind. Raises BundleError if an answer is no row of numbers."""
        if self.text.is_linear:
            return  # these have none
        rows = self._rows_of_every_kind()
        try:
            parts = self.contributions(rows)
        except Exception as error:  # LightGBM's own, and numpy's
            raise BundleError(
                f"bundle {self.digest[:12]}: {MODEL}: cannot explain a score ({_line(error)}); train it again"
            ) from None
        if parts.shape != (len(rows), len(self.features) + 1) or not np.isfinite(parts).all():
            raise BundleError(
                f"bundle {self.digest[:12]}: {MODEL}: contributions are not one number a feature; train it again"
            )

    def _rows_of_every_kind(self) -> Matrix:
        values = (np.nan, 0.0, -0.0, 1.0, 1e6, -1e6, np.inf, -np.inf)
        return np.vstack([np.full(len(self.features), value) for value in values])

    def write(self, folder: Path) -> Path:
        """Write the bundle to `folder/<digest>`, completely or not at all; returns that path. Raises OSError."""
        target = folder / self.digest
        if target.exists():
            return target
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
        try:
            (draft / MODEL).write_bytes(self.model)
            (draft / MANIFEST).write_bytes(self.manifest_bytes)
            draft.chmod(0o755)
            try:
                os.rename(draft, target)
            except OSError:
                if not target.exists():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return target

    @classmethod
    def load(cls, folder: Path, expect: str | None = None) -> Bundle:
        """Read a bundle from its folder.

        Raises BundleError if a file is missing or damaged, or the content's digest is not `expect`.
        """
        parts = []
        for name in (MODEL, MANIFEST):
            try:
                parts.append((folder / name).read_bytes())
            except OSError as error:
                raise BundleError(
                    f"bundle {folder}: {name}: {error.strerror}; fetch or make the bundle again"
                ) from None
        return cls.read(parts[0], parts[1], expect)

    @classmethod
    def read(cls, model: bytes, manifest: bytes, expect: str | None = None) -> Bundle:
        """Read a bundle from the bytes of its files. Raises BundleError as `load` does."""
        digest, parsed = read_manifest(model, manifest, expect)
        bundle = cls(digest, parsed, model, manifest)
        check_answers(bundle.text, parsed.link)
        bundle._recoded, bundle._booster  # noqa: B018 - so that a model that cannot be used is refused now
        return bundle


def create(
    model: bytes,
    features: tuple[str, ...],
    view: FeatureView,
    threshold: float,
    created_at: datetime | None = None,
    **known: Any,
) -> Bundle:
    """Wrap a LightGBM model that this process trained. A model from elsewhere goes through `BundleStore.accept`, which
    lets no process but a child parse it first. Arguments as for `describe`.

    Raises BundleError as `describe` does, or if the model cannot be parsed.
    """
    bundle = Bundle.read(model, describe(model_text.read(model), features, view, threshold, created_at, **known))
    bundle.warm()
    return bundle


def _parsed(model: bytes, features: tuple[str, ...]) -> Any:
    try:
        booster = library().Booster(model_str=model.decode())
    except (library().basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"{MODEL}: LightGBM cannot read it ({_line(error)}); save it again") from None
    if booster.num_feature() != len(features):
        raise BundleError(
            f"features: {len(features)} names, expected {booster.num_feature()}, one for each feature of the model"
        )
    return booster


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
