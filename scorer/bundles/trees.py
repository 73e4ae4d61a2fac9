"""Checks the structure of a LightGBM text model before LightGBM reads it.

LightGBM trusts its own files: it follows the children, features and categories of a node wherever they point, and
takes every line of the parameters for a name and a value. A damaged node may be reached only by a rare transaction, and
what is read beyond a line kills only now and then, so questions to the model do not find these. In what passes here,
every node and leaf is in its tree exactly once, none points at anything that is not there, and a parameter has a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from scorer.bundles.model_text import MODEL, SAVE, ModelText
from scorer.errors import BundleError

#: Lists of a tree with one entry for each leaf, and for each inner node. LightGBM leaves out some of them in old files.
_OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count", "leaf_const")
_OF_NODES = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "split_gain", "internal_value",
             "internal_weight", "internal_count")  # fmt: skip
_NEEDED = ("leaf_value", "split_feature", "threshold", "decision_type", "left_child", "right_child")
#: Bit of `decision_type` that says that a node asks for a category.
_CATEGORY = 1
#: Largest value of a leaf (log-odds). A sum of any more has long been 0 or 1.
_MOST = 1e100
_BITS = 32
#: A threshold is infinite where only missing values are split off.
_MAY_BE: dict[str, Callable[[float], bool]] = {"threshold": lambda number: not math.isnan(number)}
#: A line of the parameters that a model was trained with, as LightGBM writes it.
_PARAMETER = re.compile(r"\[[^:\s]+: .*\]")
Fields = dict[str, str]


class _MisfitError(Exception):
    """What is wrong with a tree."""


def check(text: ModelText, features: int) -> None:
    """Raises BundleError if the model's text is not that of whole trees over so many features."""
    if len(text.names) != features:
        raise BundleError(f"features: {features} names, expected {len(text.names)}, one for each feature of the model")
    before, _, after = text.text.partition("\nend of trees")
    head, *trees = re.split(r"^(?=Tree=)", before, flags=re.MULTILINE)
    try:
        if "\0" in text.text or "\r" in text.text:  # where LightGBM ends a text or a line
            raise _MisfitError("has a zero byte or a carriage return within a line")
        _check_parameters(after)
        told = _whole(_fields(head), "tree_sizes")
        if told and told[:-1] != [len(tree.encode()) for tree in trees[:-1]]:
            raise _MisfitError("tree_sizes are not those of its trees")
        for at, tree in enumerate(map(_fields, trees)):
            if tree.get("Tree") != str(at):
                raise _MisfitError(f"tree {at} is missing")
            try:
                _check_tree(tree, features)
            except _MisfitError as wrong:
                raise _MisfitError(f"tree {at}: {wrong}") from None
    except _MisfitError as wrong:
        raise BundleError(f"{MODEL}: {wrong}; the file is damaged, {SAVE}") from None


def _fields(block: str) -> Fields:
    found: Fields = {}
    for line in block.split("\n"):
        name, is_field, value = line.partition("=")
        if is_field:
            if name in found:
                raise _MisfitError(f"{name[:40]} is there twice")
            found[name] = value
    return found


def _check_parameters(after: str) -> None:
    """after: the text after the trees."""
    _, _, block = after.partition("\nparameters:\n")
    for line in block.partition("\nend of parameters")[0].split("\n"):
        if line and not _PARAMETER.fullmatch(line):
            raise _MisfitError(f"the parameters have a line without a name and a value, {line[:40]!r}")


def _check_tree(tree: Fields, features: int) -> None:
    (leaves,) = _whole(tree, "num_leaves", 1)
    (categories,) = _whole(tree, "num_cat", 1)
    if leaves < 1 or categories < 0:
        raise _MisfitError("num_leaves or num_cat is below its least")
    nodes = leaves - 1
    for names, n in ((_OF_LEAVES, leaves), (_OF_NODES, nodes)):
        for name in names:
            if name in tree and tree[name].split():
                _numbers(tree, name, n)
            elif name in _NEEDED and n:
                raise _MisfitError(f"{name} is missing")
    if any(abs(value) > _MOST for name in ("leaf_value", "leaf_const") for value in _numbers(tree, name)):
        raise _MisfitError("the value of a leaf is no number of log-odds")
    if nodes:
        _check_children(_whole(tree, "left_child", nodes), _whole(tree, "right_child", nodes), leaves)
        split, kinds = _whole(tree, "split_feature", nodes), _whole(tree, "decision_type", nodes)
        if not all(0 <= feature < features for feature in split):
            raise _MisfitError("split_feature names a feature that is not there")
        if not all(0 <= kind < 16 for kind in kinds):
            raise _MisfitError("decision_type is none")
        _check_categories(tree, categories, [bool(kind & _CATEGORY) for kind in kinds])
    if tree.get("is_linear", "0") != "0":
        _check_linear(tree, leaves, features)


def _check_children(left: list[int], right: list[int], leaves: int) -> None:
    """Each node but the first, and each leaf, has one parent; nodes follow their parents, so there is no circle."""
    seen = set()
    for at, children in enumerate(zip(left, right, strict=True)):
        for child in children:
            if not (at < child < leaves - 1 or -leaves <= child < 0) or child in seen:
                raise _MisfitError(f"node {at} points at {child}")
            seen.add(child)


def _check_categories(tree: Fields, categories: int, asks: list[bool]) -> None:
    if not categories:
        if any(asks):
            raise _MisfitError("a node asks for categories that are missing")
        return
    bounds, words = _whole(tree, "cat_boundaries", categories + 1), _whole(tree, "cat_threshold")
    if bounds[0] != 0 or bounds[-1] != len(words) or sorted(bounds) != bounds:
        raise _MisfitError("cat_boundaries are not those of cat_threshold")
    if not all(0 <= word < 2**_BITS for word in words):
        raise _MisfitError("cat_threshold is none")
    for is_asked, threshold in zip(asks, _numbers(tree, "threshold"), strict=True):
        if is_asked and not (threshold.is_integer() and 0 <= threshold < categories):
            raise _MisfitError("a node asks for a category that is missing")


def _check_linear(tree: Fields, leaves: int, features: int) -> None:
    counts, used = _whole(tree, "num_features", leaves), _whole(tree, "leaf_features")
    if min(counts) < 0 or sum(counts) != len(used) or len(_numbers(tree, "leaf_coeff")) != len(used):
        raise _MisfitError("leaf_features or leaf_coeff are not as many as num_features says")
    if not all(0 <= feature < features for feature in used):
        raise _MisfitError("leaf_features names a feature that is not there")


def _numbers(tree: Fields, name: str, n: int | None = None) -> list[float]:
    """The finite numbers in a field; n: how many are expected."""
    try:
        found = [float(part) for part in tree.get(name, "").split()]
    except ValueError:
        raise _MisfitError(f"{name} holds no numbers") from None
    if not all(map(_MAY_BE.get(name, math.isfinite), found)):
        raise _MisfitError(f"{name} holds no finite numbers")
    if n is not None and len(found) != n:
        raise _MisfitError(f"{name} has {len(found)} entries, expected {n}")
    return found


def _whole(tree: Fields, name: str, n: int | None = None) -> list[int]:
    """The whole numbers in a field, of at most 32 bits."""
    parts = tree.get(name, "").split()
    if not all(re.fullmatch(r"-?\d{1,10}", part, re.ASCII) for part in parts):
        raise _MisfitError(f"{name} holds no whole numbers")
    if n is not None and len(parts) != n:
        raise _MisfitError(f"{name} has {len(parts)} entries, expected {n}")
    return [int(part) for part in parts]
