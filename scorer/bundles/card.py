"""A bundle for people: a model card in Markdown, how two bundles differ, and a table of bundles. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scorer.bundles.lineage import Tuned, differences
from scorer.bundles.manifest import Manifest
from scorer.text_table import columns_of, printable, wrapped
from scorer.text_table import table as text_table

#: Columns of a terminal.
WIDTH = 80
#: Widths of the columns of a comparison, and of its lines.
_COLUMNS = (24, 26, 26)
_ROW = sum(_COLUMNS) + 2
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
    if manifest.tuned is not None:
        yield ""
        yield from _wrapped(_searched(manifest.tuned))


def _searched(tuned: Tuned) -> str:
    first = "" if tuned.first is None else f", {tuned.first:.3f} with what they were before"
    return (
        f"{', '.join(tuned.searched)} are the best of {tuned.trials} trials by {tuned.by}, seed {tuned.seed}: average "
        f"precision {tuned.best:.3f}{first}, on the transactions that set the threshold."
    )


def _wrapped(text: str, indent: str = "") -> list[str]:
    clean = " ".join(printable(text).split())
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
        yield from _beside(
            name,
            22,
            f" {measures.get('transactions') or 0:>8} {measures.get('frauds') or 0:>6}"
            + "".join(f" {_measure(measures.get(of)):>9}" for of in _MEASURES),
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
        yield from _beside(name, 40, f" {importance.get(name, 0.0):>7.1%}")
    yield "```"


def _beside(name: str, width: int, figures: str) -> Iterator[str]:
    """A name and its figures; a name that is wider than its column stands above them, whole."""
    shown = printable(name)
    if columns_of(shown) > width:
        yield shown
        shown = ""
    yield shown + " " * (width - columns_of(shown)) + figures


class Apart(NamedTuple):
    """Something in which two bundles differ. theirs: None where `ours` says all of it."""

    name: str
    ours: str
    theirs: str | None


def compared(a: Told, b: Told, width: int | None = None) -> Iterator[str]:
    """How two bundles differ. width: of a terminal; None for `WIDTH`."""
    names = a.digest[:12], b.digest[:12]
    most = width or WIDTH
    if most >= _ROW:
        yield _row("", *names)
    for name, mine, other in _origins(a.manifest, b.manifest):
        yield from _side_by_side(Apart(name, mine, other), names, most)
    for title, rows in apart(a, b).items():
        yield ""
        yield title if rows else f"{title}: the same"
        for row in rows[:MOST]:
            yield from _side_by_side(row, names, most, "  ")
        if len(rows) > MOST:
            yield f"  and {len(rows) - MOST} more"


def _side_by_side(row: Apart, names: tuple[str, str], width: int, margin: str = "") -> Iterator[str]:
    """A row in three columns; below each other where these are too narrow for it."""
    if row.theirs is None:
        yield from wrapped(f"{margin}{row.name}: {row.ours}", width, f"{margin}  ")
        return
    cells = [f"{margin}{row.name}", row.ours, row.theirs]
    if width >= _ROW and all(columns_of(cell) <= most for cell, most in zip(cells, _COLUMNS, strict=True)):
        yield _row(*cells)
        return
    yield from wrapped(cells[0], width, f"{margin}  ")
    for name, value in zip(names, cells[1:], strict=True):
        yield from wrapped(value, width, f"{margin}    ", f"{margin}  {name}  ")


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
    return _rule(manifest).removeprefix("chosen by ")


def _row(name: str, ours: str, theirs: str) -> str:
    first, *others = (
        " " * (most - columns_of(cell)) for cell, most in zip((name, ours, theirs), _COLUMNS, strict=True)
    )
    return printable(f"{name}{first} {others[0]}{ours} {others[1]}{theirs}").rstrip()


def table(bundles: Sequence[Told], width: int | None = None) -> Iterator[str]:
    """A line for each bundle. width: of a terminal; None for `WIDTH`."""
    rows = []
    for one in bundles:
        manifest = one.manifest
        measured = (manifest.metrics.get("overall") or {}).get("average_precision")
        ended = "-" if manifest.data_ended is None else f"{manifest.data_ended:%Y-%m-%d}"
        rows.append(
            (
                one.digest[:12], f"{manifest.created_at:%Y-%m-%d %H:%M}", ended, _measure(measured),
                f"{manifest.threshold:.4g}", _cut(manifest.note or "", 12),
            )
        )  # fmt: skip
    yield from text_table(("digest", "made", "data to", "AP", "threshold", "note"), rows, width or WIDTH)


def _measure(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.9g}" if isinstance(value, float) else " ".join(str(value).split())


def _cut(text: str, most: int) -> str:
    clean = printable(text)
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"
