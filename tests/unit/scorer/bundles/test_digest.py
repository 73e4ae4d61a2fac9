"""A digest covers content: what is beside it may be said otherwise, and nothing else may. Older digests stay."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from scorer.bundles.manifest import BESIDE, Manifest, digest_of, manifest_of, read_manifest
from scorer.errors import BundleError

MODEL = b"tree\n"
FIELDS: dict[str, Any] = {
    "schema": 2,
    "features": ["amount"],
    "view": {"name": "v", "id": "v1", "features": {"amount": {"kind": "event"}}},
    "threshold": 0.5,
    "code_version": "1",
    "libraries": {"lightgbm": "4"},
    "parameters": {"num_leaves": 31},
    "created_at": "2026-01-01T00:00:00Z",
}


def text(**changes: Any) -> bytes:
    return orjson.dumps({**FIELDS, **changes})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("created_at", "2027-01-01T00:00:00Z"), ("note", "why"), ("parent", "a" * 64), ("made_by", "ada"),
        ("packages", "b" * 64),
        ("tuned", {"by": "optuna 5", "seed": 1, "trials": 2, "first": 0.1, "best": 0.2, "searched": ["num_leaves"]}),
        ("sources", [{"name": "x", "rows": 1, "bytes": 2, "sha256": "c", "columns": {}}]),
    ],
)  # fmt: skip
def test_what_stands_beside_the_content_changes_no_digest(name: str, value: Any) -> None:
    assert name in BESIDE
    assert digest_of(MODEL, text(**{name: value})) == digest_of(MODEL, text())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 0.6), ("features", ["hour_of_day"]), ("parameters", {"num_leaves": 30}), ("code_version", "2"),
        ("libraries", {"lightgbm": "5"}), ("metrics", {"overall": {"recall": 1.0}}), ("training", None),
    ],
)  # fmt: skip
def test_any_other_field_changes_the_digest(name: str, value: Any) -> None:
    assert digest_of(MODEL, text(**{name: value})) != digest_of(MODEL, text())
    assert digest_of(MODEL + b"x", text()) != digest_of(MODEL, text())


def test_how_a_manifest_is_written_changes_no_digest() -> None:
    turned = orjson.dumps(dict(reversed(FIELDS.items())), option=orjson.OPT_INDENT_2)
    assert digest_of(MODEL, turned) == digest_of(MODEL, text())


def test_of_a_field_that_is_there_twice_the_digest_and_the_reader_see_the_same_one() -> None:
    twice = text()[:-1] + b',"threshold":0.9}'
    assert manifest_of(twice).threshold == 0.9
    assert digest_of(MODEL, twice) == digest_of(MODEL, text(threshold=0.9)) != digest_of(MODEL, text())


@pytest.mark.parametrize(
    "tail", [b',"schema":1}', b',"schema":2.0}', b',"schema":true}', b',"schema":"2"}', b',"schema":3}']
)
def test_a_manifest_of_a_doubtful_schema_is_refused(tail: bytes) -> None:
    doubtful = text()[:-1] + tail
    digest = digest_of(MODEL, doubtful)
    try:
        manifest = read_manifest(MODEL, doubtful, digest)[1]
    except BundleError:
        return
    assert manifest.schema_number == 1, "then all of its bytes are in the digest"
    assert digest == digest_of_bytes(doubtful)


def digest_of_bytes(manifest: bytes) -> str:
    """How version 0.1.0 had it."""
    whole = hashlib.sha256()
    for name, content in (("manifest.json", manifest), ("model.txt", MODEL)):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def test_digests_of_schema_1_cover_their_bytes_as_they_did() -> None:
    old = text(schema=1)
    assert digest_of(MODEL, old) == digest_of_bytes(old)
    assert read_manifest(MODEL, old, digest_of_bytes(old))[1].schema_number == 1
    changed = text(schema=1, note="other")
    with pytest.raises(BundleError, match="its content was changed"):
        read_manifest(MODEL, changed, digest_of_bytes(old))


@pytest.mark.parametrize(
    "junk", [b"", b"[]", b"null", b"{", b'{"schema": 2', b"\xff\xfe", b'{"schema": 2, "threshold": NaN}']
)
def test_what_is_no_manifest_is_refused_and_not_raised(junk: bytes) -> None:
    digest = digest_of(MODEL, junk)
    with pytest.raises(BundleError):
        read_manifest(MODEL, junk, digest)


def test_age_counts_from_the_end_of_the_data_and_else_from_the_making() -> None:
    made = datetime(2026, 3, 1, tzinfo=UTC)
    trained = {"fingerprint": "f", "rows": 1, "frauds": 1, "first": "2026-01-01", "last": "2026-02-01T10:00:00.000Z"}
    fields = {**FIELDS, "created_at": made}
    assert Manifest.model_validate({**fields, "training": trained}).counts_from == datetime(2026, 2, 1, 10, tzinfo=UTC)
    assert Manifest.model_validate(fields).counts_from == made
    for odd in ("soon", "2026-02-01T10:00:00"):
        assert Manifest.model_validate({**fields, "training": {**trained, "last": odd}}).counts_from == made
    late = Manifest.model_validate({**fields, "training": trained}).counts_from
    assert made - late > timedelta(days=14), "wrapping an old model again does not make it young"
