"""What a bundle says of its model: features, threshold, scale, origin; and the digest of both.

The digest covers content: what decides how the bundle scores, and what it was made of. Who made it, when and why stands
beside it, so that the same training gives the same digest.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from scorer.bundles.lineage import Lineage, SourceFile, Tuned
from scorer.bundles.model_text import MODEL, ModelText
from scorer.bundles.names import check_names
from scorer.bundles.scale import Calibration, Link
from scorer.errors import BundleError
from scorer.pipeline.view import FeatureView

MANIFEST = "manifest.json"
#: Libraries whose versions a manifest records.
LIBRARIES = ("lightgbm", "numpy")
#: How manifests are written now. The digest of those of schema 1 covers their bytes, with all that is beside.
SCHEMA = 2
#: Fields beside the content.
BESIDE = ("created_at", "parent", "made_by", "note", "packages", "sources", "tuned")


class ViewRecord(BaseModel):
    """The feature view that a model was made for, and how it defines the features that the model uses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    id: str
    features: dict[str, dict[str, Any]]


class Training(BaseModel):
    """The labelled transactions that a model was trained on. Times are RFC 3339.

    first, last: times of the first and last transaction. labels_known_by: labels count as they were known at this time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str = Field(description="SHA-256 of the transactions and labels, in order")
    rows: int
    frauds: int
    first: str
    last: str
    labels_known_by: str | None = None


class Checked(BaseModel):
    """Rows with the scores of their trainer's own code, which are the bundle's too. digest: SHA-256 of their file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    digest: str


#: Fields of a manifest that are left out where there is nothing to say, so that earlier versions read it.
OPTIONAL = ("link", "calibration", "checked", "lineage", "made_by", "packages", "sources", "tuned")


class Manifest(BaseModel):
    """What a bundle says about its model.

    features: in the model's order. threshold: a score equal to it blocks. threshold_chosen: how the threshold was
    chosen. parameters: of the training. libraries: their versions. metrics: overall and by segment. parent: digest of
    the bundle that this one replaces. link: how the model's answers become probabilities, None if they are.
    calibration: what is applied after it. checked: rows with their trainer's scores that the bundle was held against.
    lineage: how it was made, if it was made here. made_by: who has trained it, or brought it here. packages: SHA-256 of
    all that was installed then. sources: the files that were read. tuned: how parameters were searched, if they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_number: Literal[1, 2] = Field(1, validation_alias="schema", serialization_alias="schema")
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
    created_at: AwareDatetime
    link: Link | None = None
    calibration: Calibration | None = None
    checked: Checked | None = None
    made_by: str | None = Field(None, min_length=1, max_length=200)
    lineage: Lineage | None = None
    packages: str | None = None
    sources: tuple[SourceFile, ...] | None = None
    tuned: Tuned | None = None

    @property
    def data_ended(self) -> datetime | None:
        """When the transactions that the model was trained on ended, if that is known."""
        try:
            ended = datetime.fromisoformat(self.training.last) if self.training is not None else None
        except ValueError:
            return None
        return ended if ended is not None and ended.tzinfo is not None else None

    @property
    def counts_from(self) -> datetime:
        """From when on the model ages: when its data ended, or, if that is not known, when the bundle was made."""
        return self.data_ended or self.created_at

    @field_validator("metrics")
    @classmethod
    def _measures(cls, value: dict[str, Any]) -> dict[str, Any]:
        segments = value.get("segments", {})
        if not isinstance(segments, dict):
            raise ValueError("segments: expected an object, measures by segment")
        for name, measures in {"overall": value.get("overall") or {}, **segments}.items():
            if not isinstance(measures, dict) or not set(map(type, measures.values())) <= {int, float, type(None)}:
                raise ValueError(f"{name[:60]}: expected an object, a number or null by measure")
        return value


def describe(
    text: ModelText,
    features: tuple[str, ...],
    view: FeatureView,
    threshold: float,
    created_at: datetime | None = None,
    view_record: dict[str, Any] | None = None,
    **known: Any,
) -> bytes:
    """The manifest of a model, as it is written.

    text: what the model's text says. features: names in the model's order. threshold: a score equal to it blocks.
    created_at: now if None. view_record: what to say of the view, if not what it says of itself. known: further fields
    of the manifest.

    Raises BundleError if a feature is not in the view, the features are not the model's or in another order, or a field
    of the manifest is invalid.
    """
    check_names(text, features, view.id, view.names)
    try:
        manifest = Manifest.model_validate(
            {
                "schema": SCHEMA,
                "features": features,
                "view": view_record or {"name": view.name, "id": view.id, "features": view.definitions(features)},
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
    fields = manifest.model_dump(mode="json", by_alias=True)
    return orjson.dumps(
        {name: value for name, value in fields.items() if value is not None or name not in OPTIONAL},
        option=orjson.OPT_INDENT_2,
    )


def manifest_of(text: bytes) -> Manifest:
    """The manifest in a file. Raises BundleError that names the field."""
    try:
        fields = _fields(text)
        parsed = Manifest.model_validate_json(text) if fields is None else Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"{MANIFEST}: {where}: {first['msg']}; make the bundle again") from None
    if (fields is None) != (parsed.schema_number == 1):
        raise BundleError(f"{MANIFEST}: schema: is there twice; make the bundle again")
    missing = [name for name in parsed.features if name not in parsed.view.features]
    if missing:
        raise BundleError(f"{MANIFEST}: view: has no definition of feature {missing[0]}; make the bundle again")
    return parsed


def _fields(text: bytes) -> dict[str, Any] | None:
    """The fields of a manifest whose digest covers its content; None for one of which it covers the bytes."""
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    is_new = isinstance(fields, dict) and type(fields.get("schema")) is int and fields["schema"] >= SCHEMA
    return fields if is_new else None


def content_of(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a manifest that its digest covers."""
    return {name: value for name, value in fields.items() if name not in BESIDE}


def digest_of(model: bytes, manifest: bytes) -> str:
    """SHA-256, as hex, of what is in a bundle's files: the model and the content of the manifest."""
    whole, fields = hashlib.sha256(), _fields(manifest)
    if fields is not None:
        whole.update(f"bundle {SCHEMA}\0".encode())
        manifest = orjson.dumps(content_of(fields), option=orjson.OPT_SORT_KEYS)
    for name, content in ((MANIFEST, manifest), (MODEL, model)):
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()


def read_manifest(model: bytes, manifest: bytes, expect: str | None = None) -> tuple[str, Manifest]:
    """Digest and manifest of a bundle, whose model is not parsed. Raises BundleError if its digest is not `expect`."""
    digest = digest_of(model, manifest)
    if expect is not None and digest != expect:
        raise BundleError(
            f"bundle {expect[:12]}: its content was changed (digest {digest[:12]}); fetch or make the bundle again"
        )
    return digest, manifest_of(manifest)
