"""Makes a bundle from files by a recipe, for the first time or once more, and says what it was made of."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from scorer.bundles.bundle import Bundle
from scorer.bundles.lineage import Code, Recipe, SourceFile, digest_of_json
from scorer.bundles.lineage import Reading as HowRead
from scorer.bundles.manifest import Manifest, ViewRecord
from scorer.errors import BundleError, UserError
from scorer.pipeline.features import check_functions
from scorer.pipeline.instants import instant_ms, stamps
from scorer.pipeline.layout import Layout
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.money import Money
from scorer.pipeline.risk_view import of_definitions
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import DELTAS, FeatureView
from scorer.pipeline.window import AMOUNT, MERCHANT, Window
from scorer.sources.file_rows import FileRows
from scorer.sources.files import read_transactions, time_bound
from scorer.sources.source import Source
from scorer.sources.tables import ArrowRows
from scorer.training.environment import packages, versions
from scorer.training.history import History, read_history
from scorer.training.train import train

Tell = Callable[[str], Any]
_MARK = b"which key makes these tokens"
_BLOCK = 1 << 20
#: Kinds of features that are attributes.
_ATTRIBUTE = ("number", "boolean", "category")


@dataclass(frozen=True)
class Making:
    """How files are read and what is made of them. token_key: of the tokens, if there are any."""

    recipe: Recipe
    view: FeatureView
    mapping: FieldNames
    layout: Layout
    money: Money
    card_number_fields: tuple[str, ...] = ()
    token_key: bytes | None = None

    def read(self, files: Sequence[Path], tell: Tell) -> Material:
        """Read files. tell: called with what whoever trains should know. Raises UserError."""
        reading = Reading(self.money, self.mapping, self.view.attributes, self.card_number_fields)
        reading.check_formats()
        source = Source(self.mapping, self.layout, self.view.attributes, self.token_key, needs_label=True)
        parts: list[SourceFile] = []
        chunks = read_transactions(
            files,
            source,
            None,
            self.recipe.until,
            tell=tell,
            reading=reading,
            note=lambda part: parts.append(_file(part)),
        )
        history = read_history(chunks, self.view, reading, str(files[0]))
        data = history.data
        if data.unknown:
            tell(f"{data.unknown} transactions have no label: they count as past, and are not learnt")
        if data.repeats:
            tell(f"{data.repeats} transactions bear the id of an earlier one, and are not learnt")
        return Material(history, tuple(parts), self._how(history))

    def _how(self, history: History) -> HowRead:
        mapping = self.mapping.model_dump(mode="json", exclude_defaults=True)
        money = _used(self.money, history).model_dump(mode="json")
        return HowRead(
            mapping=mapping,
            mapping_digest=digest_of_json(mapping),
            files=self.layout.model_dump(mode="json", exclude_defaults=True),
            money=money,
            rates_digest=digest_of_json(money),
            card_number_fields=self.card_number_fields,
            token_key=_key_mark(self.token_key) if self.layout.tokens else None,
        )


@dataclass(frozen=True)
class Material:
    """What was read. how: settings, for the manifest."""

    history: History
    files: tuple[SourceFile, ...]
    how: HowRead

    def bundle(
        self,
        recipe: Recipe,
        code: Code,
        progress: Callable[[int], Any] = lambda rounds: None,
        threads: int = 1,
        tell: Tell = lambda text: None,
        **known: Any,
    ) -> Bundle:
        """Train. known: further fields of the manifest. Raises UserError as `train` does."""
        return train(
            self.history, recipe, progress, threads, self.how, code, tell,
            libraries=versions(), packages=packages(), sources=self.files, **known,
        )  # fmt: skip


def again(manifest: Manifest, digest: str, token_key: bytes | None) -> Making:
    """How a bundle was made. token_key: of this machine's settings.

    Raises BundleError if its manifest does not say, or this version cannot do it any more; UserError for another key.
    """
    lineage = manifest.lineage
    if lineage is None:
        made = "was trained elsewhere" if manifest.training is None else "was trained by an earlier version"
        raise BundleError(f"bundle {digest[:12]}: {made}, and its manifest does not say all that it takes")
    how = lineage.reading
    if how.token_key is not None and (token_key is None or _key_mark(token_key) != how.token_key):
        raise UserError(
            "token_key: is another one than the card tokens of this bundle were made with; set SCORER_TOKEN_KEY to that"
        )
    try:
        view = view_of(manifest.view)
        check_functions(view)
        files = {} if lineage.is_of_archive else how.files
        mapping, layout = FieldNames.model_validate(how.mapping), Layout.model_validate(files)
        money = Money.model_validate(how.money)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(
            f"bundle {digest[:12]}: {where}: {first['msg']}; make it by version {manifest.code_version}"
        ) from None
    for name, told in manifest.view.features.items():
        if name not in view.names or view.definitions((name,))[name] != told:
            raise BundleError(
                f"bundle {digest[:12]}: feature {name}: this version computes it otherwise; make it by version "
                f"{manifest.code_version}"
            )
    return Making(lineage.recipe, view, mapping, layout, money, how.card_number_fields, token_key)


def view_of(told: ViewRecord) -> FeatureView:
    """A view that has the features of a manifest, and the attributes that these are made of. Raises ValidationError."""
    features = dict(told.features)
    functions = {name: definition for name, definition in features.items() if definition.get("kind") == "function"}
    for definition in functions.values():
        features = {**dict(definition.get("uses") or {}), **features}
    attributes = {name: definition for name, definition in features.items() if definition.get("kind") in _ATTRIBUTE}
    windows = []
    for name, definition in features.items():
        if definition.get("kind") == "window":
            windows.append(Window.of_definition(name, definition))
            for key, known in definition["keys"].items():
                if key != MERCHANT:
                    attributes.setdefault(key, known)
            if windows[-1].of not in (None, AMOUNT, MERCHANT):
                attributes.setdefault(str(windows[-1].of), definition.get("attribute") or {"kind": "number"})
        if definition.get("kind") == "risk" and "attribute" in definition:
            attributes.setdefault(str(definition["key"]), definition["attribute"])
    kinds = {str(definition.get("kind")) for definition in features.values()}
    return FeatureView.model_validate(
        {
            "name": told.name,
            "attributes": [{"name": name, **definition} for name, definition in attributes.items()],
            "deltas": [what for what in DELTAS if what in kinds],
            "windows": windows,
            "functions": [
                {"name": name, "version": definition.get("version"), "uses": tuple(definition.get("uses") or ())}
                for name, definition in functions.items()
            ],
            "risk": of_definitions(features),
        }
    )


def _used(money: Money, history: History) -> Money:
    """The rates that could count: so a table that has grown since makes no other bundle."""
    first, last = (
        datetime.fromtimestamp(instant_ms(text) / 1000, UTC).date() for text in (history.data.first, history.data.last)
    )
    kept = {code: _between(table, first, last) for code, table in money.rates.items()}
    return Money(currency=money.currency, rates={code: table for code, table in kept.items() if table})


def _between(table: Any, first: date, last: date) -> dict[date, float]:
    before = [day for day in table if day <= first]
    start = max(before) if before else first
    return {day: rate for day, rate in sorted(table.items()) if start <= day <= last}


def _key_mark(key: bytes | None) -> str | None:
    return None if key is None else hmac.new(key, _MARK, hashlib.sha256).hexdigest()[:16]


def _file(part: FileRows) -> SourceFile:
    content, size = hashlib.sha256(), 0
    with part.path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            content.update(block)
            size += len(block)
    columns = dict.fromkeys(part.rows.names, "json")
    if isinstance(part.rows, ArrowRows):
        columns = {name: str(part.rows.raw(name).type) for name in part.rows.names}
    return SourceFile(name=str(part.path), rows=len(part.rows), bytes=size, sha256=content.hexdigest(), columns=columns)


def rfc3339(text: str | None, option: str) -> str | None:
    """A time of an option as manifests have it. Raises UserError that names the option."""
    if text is None:
        return None
    return stamps(np.array([time_bound(text, option)], dtype=np.int64))[0]
