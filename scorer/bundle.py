"""A model bundle: a LightGBM model, what it needs, and where it comes from, under the digest of its content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import lightgbm
import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scorer.errors import BundleError
from scorer.view import FeatureView

MODEL, MANIFEST = "model.txt", "manifest.json"
#: Libraries whose versions a manifest records.
LIBRARIES = ("lightgbm", "numpy")

Matrix = npt.NDArray[np.float64]


class Silent:
    """Takes LightGBM's own log lines; what matters comes as an exception."""

    def info(self, msg: str) -> None:
        """Dropped."""

    def warning(self, msg: str) -> None:
        """Dropped."""


lightgbm.register_logger(Silent())


class ViewRecord(BaseModel):
    """The feature view that a model was made for, with the definitions of the features that it uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    id: str
    features: dict[str, dict[str, Any]]


class Training(BaseModel):
    """The labelled transactions that a model was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str = Field(description="SHA-256 of the transactions and labels, in order")
    rows: int
    frauds: int
    first: str
    last: str
    labels_known_by: str | None = None


class Manifest(BaseModel):
    """What is on record of a bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_number: Literal[1] = Field(1, validation_alias="schema", serialization_alias="schema")
    features: tuple[str, ...] = Field(min_length=1)
    view: ViewRecord
    threshold: float = Field(ge=0, le=1)
    threshold_chosen: dict[str, Any] = Field(default_factory=dict)
    training: Training | None = None
    code_version: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    libraries: dict[str, str]
    metrics: dict[str, Any] = Field(default_factory=dict)
    parent: str | None = None
    note: str | None = None
    created_at: datetime


@dataclass(frozen=True)
class Bundle:
    """A model and its manifest, as bytes that the digest was made of."""

    digest: str
    manifest: Manifest
    model: bytes
    manifest_bytes: bytes

    @property
    def threshold(self) -> float:
        """A score equal to it blocks."""
        return self.manifest.threshold

    @property
    def features(self) -> tuple[str, ...]:
        """Features in the model's order."""
        return self.manifest.features

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        return _parsed(self.model, self.features)

    def columns(self, view: FeatureView) -> npt.NDArray[np.int64]:
        """Where the model's features stand in a snapshot of a view: int64 (k,).

        Raises BundleError if the view lacks one, or defines it otherwise than when the model was made.
        """
        return self.columns_in(view.names, view.definitions(view.names))

    def columns_in(self, names: tuple[str, ...], definitions: dict[str, dict[str, Any]]) -> npt.NDArray[np.int64]:
        """As `columns`, for a view given by its names in order and their definitions."""
        for i, name in enumerate(self.features):
            if name not in definitions:
                raise BundleError(
                    f"bundle {self.digest[:12]}: features[{i}] {name} is not in the view; add it there first"
                )
            if definitions[name] != self.manifest.view.features[name]:
                raise BundleError(
                    f"bundle {self.digest[:12]}: features[{i}] {name} is defined otherwise in the view; "
                    "train it again on this view"
                )
        return np.array([names.index(name) for name in self.features], dtype=np.int64)

    def score(self, matrix: Matrix) -> Matrix:
        """Probability of fraud of each row: float64 (n,), the same for any cut into batches.

        matrix: float64 (n, k), the bundle's own features in their order; NaN is missing.
        """
        if not len(matrix):
            return np.empty(0)
        scores: Matrix = self._booster.predict(matrix, num_threads=1)
        return scores

    def contributions(self, matrix: Matrix) -> Matrix:
        """Contribution of each feature to the raw score, and the expected value last: float64 (n, k + 1)."""
        contributions: Matrix = self._booster.predict(matrix, num_threads=1, pred_contrib=True)
        return contributions

    def warm(self) -> None:
        """Score a few rows. Raises BundleError if a score is no probability: the objective is another one."""
        k = len(self.features)
        scores = self.score(np.vstack([np.full(k, np.nan), np.zeros(k), np.full(k, 1e6), np.full(k, -1e6)]))
        if not ((scores >= 0) & (scores <= 1)).all():
            raise BundleError(
                f"bundle {self.digest[:12]}: {MODEL}: scores are no probabilities ({scores[0]:g}); "
                "train with objective binary"
            )

    def write(self, folder: Path) -> Path:
        """Write the bundle below a folder, under its digest, all at once or not at all; returns where it lies."""
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
        """Read a bundle. Raises BundleError if a part is missing or damaged, or the digest is not `expect`."""
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
        """A bundle from its bytes. Raises BundleError as `load` does."""
        digest = digest_of(model, manifest)
        if expect is not None and digest != expect:
            raise BundleError(
                f"bundle {expect[:12]}: its content has digest {digest[:12]}; it was changed, make it again"
            )
        try:
            parsed = Manifest.model_validate_json(manifest)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise BundleError(f"{MANIFEST}: {where}: {first['msg']}; make the bundle again") from None
        missing = [name for name in parsed.features if name not in parsed.view.features]
        if missing:
            raise BundleError(f"{MANIFEST}: view: has no definition of feature {missing[0]}; make the bundle again")
        bundle = cls(digest, parsed, model, manifest)
        bundle._booster  # noqa: B018 - a model that cannot be parsed is told now
        return bundle


def create(
    model: bytes,
    features: tuple[str, ...],
    view: FeatureView,
    threshold: float,
    created_at: datetime | None = None,
    **known: Any,
) -> Bundle:
    """A bundle around a LightGBM model.

    model: its text. features: names in the model's order. known: other fields of the manifest. Raises BundleError if
    the model cannot be parsed, a feature is not in the view, or the number of features differs.
    """
    unknown = [name for name in features if name not in view.names]
    if unknown:
        raise BundleError(f"features: {unknown[0]} is not in view {view.id}; add it there first")
    try:
        manifest = Manifest.model_validate(
            {
                "schema": 1,
                "features": features,
                "view": {"name": view.name, "id": view.id, "features": view.definitions(features)},
                "threshold": threshold,
                "code_version": version("shadow-scorer"),
                "libraries": {name: version(name) for name in LIBRARIES},
                "created_at": created_at or datetime.now(UTC),
                **known,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BundleError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    text = orjson.dumps(manifest.model_dump(mode="json", by_alias=True), option=orjson.OPT_INDENT_2)
    bundle = Bundle.read(model, text)
    bundle.warm()
    return bundle


def digest_of(model: bytes, manifest: bytes) -> str:
    """SHA-256 over the names and contents of a bundle's files, as hex."""
    whole = hashlib.sha256()
    for name, content in ((MANIFEST, manifest), (MODEL, model)):
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()


def _parsed(model: bytes, features: tuple[str, ...] | None) -> lightgbm.Booster:
    if not model.startswith(b"tree\n"):
        raise BundleError(f"{MODEL}: is not a LightGBM text model; save it with Booster.save_model")
    try:
        booster = lightgbm.Booster(model_str=model.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"{MODEL}: LightGBM cannot read it ({error}); save it again") from None
    if features is not None and booster.num_feature() != len(features):
        raise BundleError(
            f"features: {len(features)} names for a model of {booster.num_feature()} features; give one for each"
        )
    return booster


def model_features(model: bytes) -> tuple[str, ...]:
    """The names that a model's text gives to its features."""
    return tuple(_parsed(model, None).feature_name())
