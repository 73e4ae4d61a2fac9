"""What the text of a LightGBM model says of it: objective, names, categories, trees. Read before LightGBM parses it.

The format is LightGBM's own, version v3 and v4 (`GBDT::SaveModelToString` and, for the lists of categories, the last
line that its Python package adds).
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from dataclasses import dataclass
from functools import cached_property

from scorer.errors import BundleError

MODEL = "model.txt"
#: Objectives whose answers are probabilities.
PROBABILITIES = ("binary", "cross_entropy")
#: Most bytes that a compressed model may become.
MOST_BYTES = 1 << 30
#: A name that LightGBM gives to a column without one.
NAMELESS = re.compile(r"Column_\d+")
SAVE = "save it with Booster.save_model"
#: How every LightGBM text model begins.
BEGINNING = b"tree\n"
NOT_A_MODEL = f"not a LightGBM text model; {SAVE}"
#: How zlib begins, by its levels.
ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
#: How files of other kinds begin, and what they are.
FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x80", f"a pickle; load it where it was trained, and {SAVE}"),
    *((begin, f"a compressed joblib file; load it where it was trained, and {SAVE}") for begin in ZLIB),
    (b"CBM1", "a CatBoost model; only LightGBM models can be wrapped"),
    (b"{L\x00\x00", "an XGBoost model (UBJSON); only LightGBM models can be wrapped"),
    (b"{l\x00\x00", "an XGBoost model (UBJSON); only LightGBM models can be wrapped"),
    (b'{"learner"', "an XGBoost model (JSON); only LightGBM models can be wrapped"),
    (b"binf", "an XGBoost model (binary); only LightGBM models can be wrapped"),
    (b'{"name":"tree"', f"LightGBM's JSON dump, from which no model can be loaded; {SAVE}"),
    (b'{"name": "tree"', f"LightGBM's JSON dump, from which no model can be loaded; {SAVE}"),
    (b"PK\x03\x04", f"a zip archive; unpack it, and name the LightGBM text model: {SAVE}"),
    (b"\x08", "an ONNX model, it seems; only LightGBM text models can be wrapped"),
    (b"<?xml", "an XML file such as PMML; only LightGBM text models can be wrapped"),
    (b"\x89HDF", "an HDF5 file such as a Keras model; only LightGBM text models can be wrapped"),
)


def plain(content: bytes) -> bytes:
    """The text of a model from the content of a file: without gzip, byte order mark and carriage returns.

    Raises BundleError that names what the file is, if it is no LightGBM text model.
    """
    if content.startswith(b"\x1f\x8b"):
        content = _unzipped(content)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise BundleError(f"{MODEL}: begins as UTF-16 but is not ({error.reason}); {SAVE}") from None
    content = content.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if content.startswith(BEGINNING):
        return content
    if not content.strip():
        raise BundleError(f"{MODEL}: empty; {SAVE}")
    told = next((what for magic, what in FOREIGN if content.startswith(magic)), None)
    raise BundleError(f"{MODEL}: {told}" if told else f"{MODEL}: {NOT_A_MODEL}")


def _unzipped(content: bytes) -> bytes:
    """Raises BundleError if it is damaged, or grows too large."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(content, MOST_BYTES)
        if unpacker.eof and unpacker.unused_data:  # further members
            text += gzip.decompress(unpacker.unused_data)
    except (zlib.error, OSError, EOFError) as error:
        raise BundleError(f"{MODEL}: damaged gzip file ({error}); copy it again") from None
    if unpacker.unconsumed_tail or len(text) > MOST_BYTES:
        raise BundleError(f"{MODEL}: more than {MOST_BYTES >> 20} MiB unpacked; is it a LightGBM text model?")
    if not unpacker.eof:
        raise BundleError(f"{MODEL}: the gzip file is cut off; copy it again")
    return text


@dataclass(frozen=True)
class ModelText:
    """What a model's text says.

    text: the whole. objective: its name; None for a function of the trainer's own, whose answers are margins.
    classes: answers a row. names: of the features, in the model's order. categories: for each pandas column that was a
    category, in the order of the columns, its values as texts, in the order of their codes. categorical: for each
    feature, whether trees split it by categories. is_linear: leaves hold linear models, for which LightGBM has no
    contributions. is_averaged: answers are the mean of the trees (boosting rf).
    """

    text: str
    objective: str | None
    classes: int
    names: tuple[str, ...]
    categorical: tuple[bool, ...]
    categories: tuple[tuple[str, ...], ...]
    is_linear: bool
    is_averaged: bool

    @property
    def is_named(self) -> bool:
        """Whether the trainer named the columns, and LightGBM did not."""
        return not all(map(NAMELESS.fullmatch, self.names))

    @cached_property
    def mean_margin(self) -> float | None:
        """Mean of the raw answers over the rows that the model was trained on, None if the text does not say.

        Of each tree, the mean of its leaves, weighted by their rows. Linear leaves count with their constants.
        """
        whole, trees = 0.0, self.text.partition("\nend of trees")[0].split("\nTree=")[1:]
        for tree in trees:
            parts, weights = _numbers(tree, "leaf_value"), _numbers(tree, "leaf_count")
            if not parts:
                return None
            if len(weights) != len(parts) or not sum(weights):
                weights = [1.0] * len(parts)
            whole += sum(part * weight for part, weight in zip(parts, weights, strict=True)) / sum(weights)
        mean = whole / len(trees) if self.is_averaged else whole
        return mean if math.isfinite(mean) else None


def _numbers(tree: str, name: str) -> list[float]:
    found = re.search(rf"^{name}=(.*)$", tree, re.MULTILINE)
    try:
        return [float(number) for number in found[1].split()] if found else []
    except ValueError:
        return []


def read(model: bytes) -> ModelText:
    """Read a text that `plain` made. Raises BundleError that says what is missing, cut off or contradictory."""
    if not model.startswith(BEGINNING):
        plain(model)
        raise BundleError(f"{MODEL}: not as LightGBM writes it (gzip, byte order mark or CRLF); make the bundle again")
    try:
        text = model.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{MODEL}: not UTF-8 at byte {error.start}; {SAVE}") from None
    head, separator, _ = text.partition("\nTree=")
    lines = head.split("\n")
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    for name in ("num_class", "num_tree_per_iteration", "max_feature_idx", "feature_names", "feature_infos"):
        if name not in fields:
            raise BundleError(f"{MODEL}: {name} is missing; the file is cut off or damaged, {SAVE}")
    names, infos = tuple(fields["feature_names"].split(" ")), fields["feature_infos"].split(" ")
    numbers = {}
    for name in ("num_class", "num_tree_per_iteration", "max_feature_idx"):
        if not re.fullmatch(r"\d{1,9}", fields[name]):
            raise BundleError(f"{MODEL}: {name}: {fields[name][:20]!r} is not a number; {SAVE}")
        numbers[name] = int(fields[name])
    if not len(names) == len(infos) == numbers["max_feature_idx"] + 1:
        raise BundleError(
            f"{MODEL}: {len(names)} feature_names and {len(infos)} feature_infos, expected "
            f"{numbers['max_feature_idx'] + 1} of both; the file is damaged, {SAVE}"
        )
    _expect_whole(model, fields.get("tree_sizes", ""), has_trees=bool(separator))
    objective = fields.get("objective", "").split(" ")[0] or None
    return ModelText(
        text=text,
        objective=None if objective == "custom" else objective,
        classes=max(numbers["num_class"], numbers["num_tree_per_iteration"]),
        names=names,
        categorical=tuple(bool(re.fullmatch(r"-?\d+(:-?\d+)*", info)) for info in infos),
        categories=_categories(text),
        is_linear="\nis_linear=1\n" in text,
        is_averaged="average_output" in lines,
    )


def _expect_whole(model: bytes, sizes: str, has_trees: bool) -> None:
    """Raise BundleError unless all trees are there: each is as long as the head says, and their end is marked."""
    if not has_trees:
        raise BundleError(f"{MODEL}: has no trees; train it again")
    begin = model.index(b"\nTree=") + 1
    end = model.find(b"\nend of trees", begin)
    found = model.count(b"\nTree=", begin - 1, end if end >= 0 else len(model))
    if end < 0:
        raise BundleError(f"{MODEL}: cut off after {found} trees; copy or save it again")
    try:
        lengths = [int(size) for size in sizes.split()]
    except ValueError:
        raise BundleError(f"{MODEL}: tree_sizes: not whole numbers; the file is damaged, {SAVE}") from None
    if lengths and len(lengths) != found:
        raise BundleError(f"{MODEL}: {found} trees, expected {len(lengths)}; the file is damaged, {SAVE}")
    for tree, length in enumerate(lengths):
        if not model.startswith(b"Tree=%d\n" % tree, begin):
            raise BundleError(f"{MODEL}: tree {tree} is not where tree_sizes says; the file was edited, {SAVE}")
        begin += length


def _categories(text: str) -> tuple[tuple[str, ...], ...]:
    """Lists of categories in the last line. pandas' numbers and booleans become texts, as transactions have them."""
    _, found, line = text.rpartition("\npandas_categorical:")
    if not found:
        return ()
    try:
        lists = json.loads(line.split("\n", 1)[0])
    except (ValueError, RecursionError):
        raise BundleError(f"{MODEL}: pandas_categorical: not JSON; the file is damaged, {SAVE}") from None
    if lists is None:
        return ()
    if not isinstance(lists, list) or not all(isinstance(one, list) for one in lists):
        raise BundleError(f"{MODEL}: pandas_categorical: expected lists; the file is damaged, {SAVE}")
    return tuple(tuple(map(_as_text, one)) for one in lists)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
