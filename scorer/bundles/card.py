"""A bundle for people: a model card in Markdown, how two bundles differ, and a table of bundles. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scorer.bundles.lineage import differences
from scorer.bundles.manifest import Manifest

#: Columns of a terminal.
WIDTH = 80
#: Begins what Markdown leaves as it is.
FENCE = "```text"
#: Most segments and features that a card or a difference names one by one.
MOST = 30
_MEASURES = ("average_precision", "roc_auc", "recall", "block_rate")
_TITLES = {"average_precision": "AP", "roc_auc": "AUC", "recall": "recall", "block_rate": "blocked"}


@dataclass(frozen=True)
class Told:
    """A bundle. importance: of each feature, its share of all gains; None if nobody asked the model."""

    digest: str
    manifest: Manifest
    importance: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """What a list of bundles says of it, for machines."""
        manifest, lineage = self.manifest, self.manifest.lineage
        return {
            "digest": self.digest,
            "created_at": manifest.created_at.isoformat(),
            "data_ended": None if manifest.data_ended is None else manifest.data_ended.isoformat(),
            "threshold": manifest.threshold,
            "features": list(manifest.features),
            "metrics": manifest.metrics.get("overall"),
            "parent": manifest.parent,
            "made_by": manifest.made_by,
            "note": manifest.note,
            "lineage": "its manifest does not say how it was made" if lineage is None else lineage.doubt,
        }


def card(bundle: Told) -> Iterator[str]:
    """The lines of a model card, at most `WIDTH` columns wide but for what has no blank."""
    manifest = bundle.manifest
    yield f"# Model {bundle.digest[:12]}"
    yield ""
    yield from _wrapped(
        "Scores card payments for fraud: the probability of fraud, from 0 to 1. A score of "
        f"{manifest.threshold:.9g} or more blocks ({_rule(manifest)})."
    )
    yield ""
    for title, text in _origin(bundle):
        yield from _wrapped(f"* **{title}:** {text}", "  ")
    yield ""
    yield "## Data"
    yield ""
    yield from _data(manifest)
    yield ""
    yield "## How well it does"
    yield ""
    yield from _measured(manifest)
    yield ""
    yield "## Features"
    yield ""
    yield from _features(bundle)
    yield ""
    yield "## Parameters"
    yield ""
    parameters = ", ".join(f"{name} {value}" for name, value in sorted(manifest.parameters.items()))
    yield from _wrapped(parameters or "Not known: it was trained elsewhere.")


def _wrapped(text: str, indent: str = "") -> list[str]:
    clean = " ".join(_printable(text).split())
    return textwrap.wrap(clean, WIDTH, subsequent_indent=indent, break_on_hyphens=False)


def _rule(manifest: Manifest) -> str:
    told = {name: value for name, value in manifest.threshold_chosen.items() if name != "method"}
    how = str(manifest.threshold_chosen.get("method", "given")).replace("_", " ")
    more = ", ".join(f"{name.replace('_', ' ')} {_number(value)}" for name, value in told.items())
    return f"chosen by {how}: {more}" if more else how


def _origin(bundle: Told) -> Iterator[tuple[str, str]]:
    manifest = bundle.manifest
    yield "Digest", bundle.digest
    by = f" by {manifest.made_by}" if manifest.made_by else ""
    yield "Made", f"{manifest.created_at:%Y-%m-%d %H:%M} UTC{by}, version {manifest.code_version}"
    if manifest.note:
        yield "Note", manifest.note
    if manifest.parent:
        yield "Replaces", manifest.parent
    yield "View", manifest.view.id
    yield "Libraries", ", ".join(f"{name} {number}" for name, number in sorted(manifest.libraries.items()))
    lineage = manifest.lineage
    if lineage is None:
        yield "Lineage", "not known; nobody can make it again from this manifest"
        return
    yield "Lineage", lineage.doubt or f"commit {lineage.code.commit}, without changes"


def _data(manifest: Manifest) -> Iterator[str]:
    training, lineage = manifest.training, manifest.lineage
    if training is None:
        yield "Not known: it was trained elsewhere."
        return
    if lineage is None:
        yield from _wrapped(
            f"{training.rows:,} transactions, {training.frauds:,} frauds, {training.first} to {training.last}"
        )
        return
    yield FENCE
    yield f"{'part':<12} {'transactions':>12} {'frauds':>8}  from, to"
    for name, part in (
        ("fitted on", lineage.split.fit), ("threshold", lineage.split.calibration), ("tested on", lineage.split.test),
    ):  # fmt: skip
        yield f"{name:<12} {part.transactions:>12,} {part.frauds:>8,}  {part.first[:16]}, {part.last[:16]}"
    yield "```"
    yield ""
    data = lineage.data
    yield from _wrapped(
        f"{data.transactions:,} transactions were read, {data.first} to {data.last}. "
        + (f"{data.unknown:,} have no label. " if data.unknown else "")
        + (f"{data.repeats:,} bear the id of an earlier one. " if data.repeats else "")
        + (
            f"Labels became known from {data.labels_first} to {data.labels_last}."
            if data.labels_first
            else "Nothing says when labels became known."
        )
    )
    for name, text in (
        ("labels known by", lineage.recipe.labels_known_by),
        ("from", lineage.recipe.since),
        ("to", lineage.recipe.until),
    ):
        if text:
            yield f"* {name} {text}"
    if lineage.recipe.label_delay:
        yield f"* labels take {lineage.recipe.label_delay / 86_400:g} days"


def _measured(manifest: Manifest) -> Iterator[str]:
    overall = manifest.metrics.get("overall")
    if not overall:
        yield "Not measured."
        return
    ranges = manifest.metrics.get("intervals", {})
    yield FENCE
    yield f"{'segment':<22} {'n':>8} {'frauds':>6}" + "".join(f" {_TITLES[name]:>9}" for name in _MEASURES)
    rows = {"all": overall, **manifest.metrics.get("segments", {})}
    for at, (name, measures) in enumerate(rows.items()):
        if at > MOST:
            yield f"and {len(rows) - at} more segments"
            break
        yield (
            f"{_cut(name, 22):<22} {measures.get('transactions') or 0:>8} {measures.get('frauds') or 0:>6}"
            + "".join(f" {_measure(measures.get(of)):>9}" for of in _MEASURES)
        )
        held = ranges.get("overall", {}) if name == "all" else ranges.get("segments", {}).get(name, {})
        if held:
            yield f"{'  95 % from':<38}" + "".join(f" {_end(held, of, 0):>9}" for of in _MEASURES)
            yield f"{'         to':<38}" + "".join(f" {_end(held, of, 1):>9}" for of in _MEASURES)
    yield "```"


def _end(held: Mapping[str, Sequence[float]], name: str, at: int) -> str:
    return _measure(held[name][at]) if name in held else "-"


def _features(bundle: Told) -> Iterator[str]:
    importance = bundle.importance
    if importance is None:
        yield from _wrapped(", ".join(bundle.manifest.features))
        return
    yield FENCE
    for name in sorted(bundle.manifest.features, key=lambda name: -importance.get(name, 0.0)):
        yield f"{_cut(name, 40):<40} {importance.get(name, 0.0):>7.1%}"
    yield "```"


class Apart(NamedTuple):
    """Something in which two bundles differ. theirs: None where `ours` says all of it."""

    name: str
    ours: str
    theirs: str | None


def compared(a: Told, b: Told) -> Iterator[str]:
    """How two bundles differ, at most `WIDTH` columns wide."""
    yield f"{'':<24} {a.digest[:12]:>26} {b.digest[:12]:>26}"
    for name, mine, other in _origins(a.manifest, b.manifest):
        yield _row(name, mine, str(other))
    for title, rows in apart(a, b).items():
        yield ""
        yield title if rows else f"{title}: the same"
        for name, mine, other in rows[:MOST]:
            yield f"  {_cut(name, 60)}: {mine}" if other is None else _row(f"  {name}", mine, other)
        if len(rows) > MOST:
            yield f"  and {len(rows) - MOST} more"


def apart(a: Told, b: Told) -> dict[str, list[Apart]]:
    """What differs between two bundles, by what it is about; an empty list where nothing does."""
    ours, theirs = a.manifest, b.manifest
    return {
        "features": list(_feature_rows(a, b)),
        "parameters": list(_plain_rows(ours.parameters, theirs.parameters)),
        "data": list(_plain_rows(*_comparable(_data_of(ours), _data_of(theirs)))),
        "versions and code": list(_plain_rows(_code_of(ours), _code_of(theirs))),
        "metrics": list(_metric_rows(ours, theirs)),
    }


def origins_apart(a: Told, b: Told) -> list[Apart]:
    """When each was made and how its threshold was chosen, as far as they differ."""
    return [row for row in _origins(a.manifest, b.manifest) if row.ours != row.theirs]


def _origins(ours: Manifest, theirs: Manifest) -> Iterator[Apart]:
    yield Apart("made", f"{ours.created_at:%Y-%m-%d %H:%M}", f"{theirs.created_at:%Y-%m-%d %H:%M}")
    yield Apart("threshold", f"{ours.threshold:.9g}", f"{theirs.threshold:.9g}")
    yield Apart("chosen by", _method(ours), _method(theirs))


def _feature_rows(a: Told, b: Told) -> Iterator[Apart]:
    names = dict.fromkeys((*a.manifest.features, *b.manifest.features))
    for name in names:
        cells = []
        for one in (a, b):
            used = "used" if one.importance is None else f"{one.importance.get(name, 0.0):.1%} of gain"
            cells.append("-" if name not in one.manifest.features else used)
        if cells[0] != cells[1]:
            yield Apart(name, *cells)
    for name, _, _ in differences(a.manifest.view.features, b.manifest.view.features):
        if all(name.partition(".")[0] in one.manifest.features for one in (a, b)):
            yield Apart(name, "is defined otherwise", None)


def _plain_rows(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Apart]:
    for path, was, now in differences(ours, theirs):
        yield Apart(path, _number(was), _number(now))


def _metric_rows(ours: Manifest, theirs: Manifest) -> Iterator[Apart]:
    both = [{"all": m.metrics.get("overall") or {}, **m.metrics.get("segments", {})} for m in (ours, theirs)]
    for name in dict.fromkeys((*both[0], *both[1])):
        a, b = (rows.get(name, {}) for rows in both)
        for of in _MEASURES:
            if a.get(of) != b.get(of):
                yield Apart(f"{name} {_TITLES[of]}", _measure(a.get(of)), _measure(b.get(of)))


def _data_of(manifest: Manifest) -> dict[str, Any]:
    lineage = manifest.lineage
    if lineage is None:
        return {} if manifest.training is None else manifest.training.model_dump()
    recipe = lineage.recipe.model_dump(include={"since", "until", "labels_known_by", "label_delay", "calibrate"})
    return {
        **lineage.data.model_dump(),
        **recipe,
        "mapping": lineage.reading.mapping_digest,
        "rates": lineage.reading.rates_digest,
    }


def _comparable(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both without the content of attributes that only one of the models uses."""
    contents = ours.get("content") or {}, theirs.get("content") or {}
    common = contents[0].keys() & contents[1].keys()
    first, second = (
        {**data, "content": {name: digest for name, digest in content.items() if name in common}} if content else data
        for data, content in zip((ours, theirs), contents, strict=True)
    )
    return first, second


def _code_of(manifest: Manifest) -> dict[str, Any]:
    code = {} if manifest.lineage is None else manifest.lineage.code.model_dump()
    return {"version": manifest.code_version, **manifest.libraries, **code, "packages": manifest.packages}


def _method(manifest: Manifest) -> str:
    return _cut(_rule(manifest).removeprefix("chosen by "), 26)


def _row(name: str, ours: str, theirs: str) -> str:
    return f"{_cut(name, 24):<24} {_cut(ours, 26):>26} {_cut(theirs, 26):>26}".rstrip()


def table(bundles: Sequence[Told]) -> Iterator[str]:
    """A line for each bundle, at most `WIDTH` columns wide."""
    yield f"{'digest':<12}  {'made':<16}  {'data to':<10}  {'AP':>6}  {'threshold':>9}  note"
    for one in bundles:
        manifest = one.manifest
        measured = (manifest.metrics.get("overall") or {}).get("average_precision")
        ended = "-" if manifest.data_ended is None else f"{manifest.data_ended:%Y-%m-%d}"
        yield (
            f"{one.digest[:12]}  {manifest.created_at:%Y-%m-%d %H:%M}  {ended:<10}  {_measure(measured):>6}  "
            f"{manifest.threshold:>9.4g}  {_cut(manifest.note or '', 12)}"
        ).rstrip()


def _measure(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.9g}" if isinstance(value, float) else " ".join(str(value).split())


def _cut(text: str, most: int) -> str:
    clean = _printable(text)
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def _printable(text: str) -> str:
    """A text that cannot speak to a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
