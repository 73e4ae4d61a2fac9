"""Where a model comes from: all that it takes to make it again, and to tell what differs if it does not come out. Pure.

What a person has to know beside that (who, why, which files) stands beside it in the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceFile(_Record):
    """A file that was read. columns: the type of each, as far as the file says it."""

    name: str
    rows: int
    bytes: int
    sha256: str
    columns: dict[str, str] = Field(default_factory=dict)


class Data(_Record):
    """The transactions that were read, whatever files they were in. Times are RFC 3339.

    transactions: all that were read. unknown: those without a label, which only count as past. repeats: those that bear
    the id of an earlier one, which are not learnt. labels_first, labels_last: when the first and the last label became
    known. content: SHA-256 of the transactions, of the labels with their times, and of each attribute.
    """

    transactions: int
    first: str
    last: str
    unknown: int = 0
    repeats: int = 0
    labels_first: str | None = None
    labels_last: str | None = None
    content: dict[str, str]


#: What stands for the layout of files where the data were read from an archive of decisions.
READ_FROM_ARCHIVE = {"from": "archive"}


class Reading(_Record):
    """How the files were read: settings by their names, and their SHA-256. Of the rates, those that could count.

    files: their layout, or READ_FROM_ARCHIVE.

    token_key: what tells the key of the tokens, but not the key itself.
    """

    mapping: dict[str, Any]
    mapping_digest: str
    files: dict[str, Any]
    money: dict[str, Any]
    rates_digest: str
    card_number_fields: tuple[str, ...] = ()
    token_key: str | None = None


class Part(_Record):
    """The transactions that one step had. Times are RFC 3339, of the first and the last."""

    transactions: int
    frauds: int
    first: str
    last: str


class Split(_Record):
    """Which transactions the model was fitted on, which set the threshold, and which it was tested on."""

    fit: Part
    calibration: Part
    test: Part


class ByRate(_Record):
    """The threshold that blocks this share of transactions."""

    method: Literal["block_rate"] = "block_rate"
    rate: float = Field(gt=0, le=1)


class Given(_Record):
    """A threshold that a person chose."""

    method: Literal["given"] = "given"
    threshold: float = Field(ge=0, le=1)


class ByPrecision(_Record):
    """The lowest threshold at which at least this share of what is blocked is fraud."""

    method: Literal["precision"] = "precision"
    precision: float = Field(gt=0, le=1)


class ByCost(_Record):
    """The threshold at which least is lost: a fraud that passes costs its amount, a block of an honest one `insult`."""

    method: Literal["cost"] = "cost"
    insult: float = Field(gt=0, allow_inf_nan=False)


Rule = Annotated[ByRate | Given | ByPrecision | ByCost, Field(discriminator="method")]


class Recipe(_Record):
    """What a training was asked for. Times are RFC 3339.

    since: what came before only counts as past. until: what came then is not read. parameters: of LightGBM, beyond the
    defaults. calibrate: share of the transactions that is not fitted on. label_delay: seconds that labels take to
    become known. class_weight: weight of a fraud, `balanced` for as many times as there are others. monotone: features
    with which the score must rise (1) or fall (-1). early_stopping: rounds without a better average precision on the
    calibration part after which the training ends.
    """

    features: tuple[str, ...]
    parameters: dict[str, Any] = Field(default_factory=dict)
    seed: int = 1
    threshold: Rule = Field(default_factory=lambda: ByRate(rate=0.03))
    calibrate: float = Field(0.2, gt=0, lt=1)
    since: str | None = None
    until: str | None = None
    labels_known_by: str | None = None
    label_delay: int = Field(0, ge=0)
    class_weight: float | Literal["balanced"] | None = None
    monotone: dict[str, Literal[-1, 1]] = Field(default_factory=dict)
    early_stopping: int | None = Field(None, ge=1)


class Tuned(_Record):
    """How the parameters of a recipe were searched. What was found is in the recipe, so nobody has to search again.

    by: the library and its version. seed: of the search. trials: sets of parameters that were tried, the first of them
    the defaults. first, best: average precision of the defaults and of what was found, on the calibration part.
    """

    by: str
    seed: int
    trials: int = Field(ge=1)
    first: float | None
    best: float
    searched: tuple[str, ...]


class Code(_Record):
    """The user's repository that the command ran in, if it ran in one. dirty: whether a tracked file was changed."""

    commit: str | None = None
    dirty: bool | None = None


class Lineage(_Record):
    """How a model was made."""

    recipe: Recipe
    split: Split
    data: Data
    reading: Reading
    code: Code

    @property
    def is_of_archive(self) -> bool:
        """Whether the data were read from an archive of decisions."""
        return self.reading.files == READ_FROM_ARCHIVE

    @property
    def doubt(self) -> str | None:
        """Why nobody can tell which code the model was made by; None if they can."""
        if self.code.commit is None:
            return "it was trained outside of a repository"
        if self.code.dirty:
            return f"it was trained with changes that commit {self.code.commit[:12]} has not"
        return None


def digest_of_json(value: Any) -> str:
    """SHA-256, as hex, of a value, however its objects are ordered."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: the path to each place, and what is there, None where nothing is.

    >>> list(differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2}, "c": [1]}))
    [('a.b', 1, 2)]
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for name in sorted(ours.keys() | theirs.keys()):
            yield from differences(ours.get(name), theirs.get(name), f"{path}.{name}" if path else name)
    elif ours != theirs:
        yield path, ours, theirs
