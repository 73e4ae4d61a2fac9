"""Rows on which two predictors of one model would differ first: made from the model's own thresholds and categories.

For every split there is a row that reaches it with a value on its threshold, and one with the next number above. All
other features of a row are drawn from thresholds, their neighbours, and values that models treat in a way of their own:
missing, zero of both signs, the band that LightGBM counts as zero, infinities, unseen, negative and broken categories.
Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from scorer.bundles.model_text import ModelText
from scorer.pipeline.batch import Matrix

#: Fewest rows; most splits that have rows of their own; about how many rows there are at most.
LEAST, SPLITS, MOST = 20_000, 20_000, 50_000
#: Categories are below this one.
MOST_CATEGORIES = 1 << 16
#: Most numbers, and most rows, of a part.
PART_NUMBERS, PART_ROWS = 1 << 22, 2048
#: LightGBM counts numbers up to this one, of both signs, as zero (`kZeroThreshold`).
ZERO = float(np.float32(1e-35))
#: Values that are special to every feature.
SPECIAL = (math.nan, 0.0, -0.0, math.inf, -math.inf, ZERO, -ZERO, math.nextafter(ZERO, 1), math.nextafter(-ZERO, -1),
           5e-324, -5e-324, 1e300, -1e300)  # fmt: skip
#: Values that are special to a category, which is cut to a whole number of 32 bits.
ODD_CATEGORIES = (-1.0, -0.5, math.nextafter(-1, 0), -1.5, 2.0**31 - 1, 2.0**31, 2.0**31 + 0.5, -(2.0**31), 2.0**32,
                  2.0**63, 65533.0, 65534.0, 65535.0, 65536.0)  # fmt: skip
#: Bit of `decision_type` that says that a node asks for a category.
_CATEGORY = 1
#: Most thresholds of a feature that other rows draw from.
_POOL = 4096
_BITS = 32
#: What a row has for the split that it aims at: its threshold, the next number, or something special: for one in so
#: many splits.
_ON, _ABOVE, _ODD, _SELDOM = 0, 1, -1, 4


class TooManyCategoriesError(Exception):
    """A set has categories beyond MOST_CATEGORIES, which would take too long to try."""


@dataclass
class _Tree:
    """Lists by node. parents: of each node its parent, and whether it is the left child; None for the root."""

    features: list[int]
    thresholds: list[float]
    kinds: list[int]
    parents: list[tuple[int, bool] | None]
    sets: list[int]  # categories that go left, as bits of a number; empty for a tree without


@dataclass(frozen=True)
class _Aim:
    """A split that a row is to reach. turn: _ON, _ABOVE or _ODD; for a set, the how manieth category, or _ODD."""

    tree: int
    node: int
    turn: int


@dataclass
class _Bounds:
    """What a path demands of a feature: more than `low` and at most `high`, or a category whose bit is in `allowed`."""

    low: float = -math.inf
    high: float = math.inf
    allowed: int | None = None


@dataclass
class _Cells:
    """Cells of a matrix that are set to a value."""

    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def put(self, row: int, column: int, value: float) -> None:
        self.rows.append(row)
        self.columns.append(column)
        self.values.append(value)


def rows(text: ModelText, seed: int = 0, least: int = LEAST) -> Iterator[Matrix]:
    """At least so many rows, in parts: float64 (n, features of the model). The same for the same model and seed.

    text: of a model whose trees passed `scorer.bundles.trees.check`. Raises TooManyCategoriesError.
    """
    rng = np.random.default_rng(seed)
    trees = _trees(text.text)
    known = _categories(trees)
    pools = _pools(trees, known, rng)
    wide = len(text.names)
    part = max(1, min(PART_ROWS, PART_NUMBERS // wide))
    made = round_ = 0
    while made < least:
        aims = _aims(trees, known, round_, rng) or [None] * least
        aims = aims if not made else aims[: least - made]
        for begin in range(0, len(aims), part):
            these = aims[begin : begin + part]
            matrix = _background(len(these), wide, pools, rng)
            cells = _Cells()
            for row, aim in enumerate(these):
                if aim is not None:
                    _hit(cells, row, trees[aim.tree], aim, known, rng)
            matrix[cells.rows, cells.columns] = cells.values
            yield matrix
        made, round_ = made + len(aims), round_ + 1


def _aims(trees: list[_Tree], known: dict[int, int], round_: int, rng: np.random.Generator) -> list[_Aim | None]:
    """What the rows of a round aim at: both sides of each threshold, each category of a set, and some odd values."""
    splits = [(at, node) for at, tree in enumerate(trees) for node in range(len(tree.features))]
    if len(splits) > SPLITS:
        splits = [splits[i] for i in np.sort(rng.choice(len(splits), SPLITS, replace=False))]
    sets = [(at, node) for at, node in splits if trees[at].kinds[node] & _CATEGORY]
    share = max(2, (MOST - 2 * (len(splits) - len(sets))) // max(1, len(sets)))
    aims: list[_Aim | None] = []
    for at, node in splits:
        tree = trees[at]
        if tree.kinds[node] & _CATEGORY:
            several = min(share, known[tree.features[node]].bit_length() + 1)
            aims += [_Aim(at, node, turn) for turn in range(round_ * several, (round_ + 1) * several)]
        else:
            aims += [_Aim(at, node, _ON), _Aim(at, node, _ABOVE)]
    aims += [_Aim(at, node, _ODD) for at, node in splits[round_ % _SELDOM :: _SELDOM]]
    return [aims[at] for at in rng.permutation(len(aims))]  # whoever stops early has some of all trees


def _trees(text: str) -> list[_Tree]:
    before = text.partition("\nend of trees")[0]
    return [_tree(dict(re.findall(r"^(\w+)=(.*)$", block, re.MULTILINE))) for block in before.split("\nTree=")[1:]]


def _tree(fields: dict[str, str]) -> _Tree:
    def whole(name: str) -> list[int]:
        return [int(part) for part in fields.get(name, "").split()]

    if fields.get("num_leaves", "1").strip() == "1":
        return _Tree([], [], [], [], [])
    features = whole("split_feature")
    parents: list[tuple[int, bool] | None] = [None] * len(features)
    for name, is_left in (("left_child", True), ("right_child", False)):
        for at, child in enumerate(whole(name)):
            if child >= 0:
                parents[child] = (at, is_left)
    bounds, words = whole("cat_boundaries"), whole("cat_threshold")
    if any(end - begin > MOST_CATEGORIES // _BITS for begin, end in pairwise(bounds)):
        raise TooManyCategoriesError
    sets = [
        int.from_bytes(np.array(words[begin:end], dtype="<u4").tobytes(), "little") for begin, end in pairwise(bounds)
    ]
    return _Tree(features, list(map(float, fields["threshold"].split())), whole("decision_type"), parents, sets)


def _categories(trees: list[_Tree]) -> dict[int, int]:
    """The categories that some tree has in a set, as bits of a number, by feature."""
    known: dict[int, int] = {}
    for tree in trees:
        for feature, threshold, kind in zip(tree.features, tree.thresholds, tree.kinds, strict=True):
            if kind & _CATEGORY:
                known[feature] = known.get(feature, 0) | tree.sets[int(threshold)]
    return known


def _pools(trees: list[_Tree], listed: dict[int, int], rng: np.random.Generator) -> dict[int, npt.NDArray[np.float64]]:
    """What is drawn for each feature that a tree asks for."""
    numbers: dict[int, set[float]] = {}
    for tree in trees:
        for feature, threshold, kind in zip(tree.features, tree.thresholds, tree.kinds, strict=True):
            if not kind & _CATEGORY:
                numbers.setdefault(feature, set()).add(threshold)
    pools = {}
    for feature in numbers.keys() | listed.keys():
        special = np.array(SPECIAL)
        parts = [special]
        if feature in numbers:
            cuts = np.array(sorted(numbers[feature]))
            cuts = rng.choice(cuts, _POOL, replace=False) if len(cuts) > _POOL else cuts
            cuts.sort()
            with np.errstate(all="ignore"):
                parts += [np.resize(special, len(cuts) // 2), (cuts[1:] + cuts[:-1]) / 2]
            parts += [cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)]
        if feature in listed:
            codes = np.arange(min(listed[feature].bit_length() + 2, _POOL), dtype=np.float64)
            top = float(listed[feature].bit_length())
            odd = np.array([*ODD_CATEGORIES, top, top + 31, top + 1000])
            parts += [codes, codes + 0.5, np.nextafter(codes, -1), odd]
        pools[feature] = np.concatenate(parts)
    return pools


def _background(
    n: int, wide: int, pools: dict[int, npt.NDArray[np.float64]], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    matrix = np.zeros((n, wide))
    for feature in sorted(pools):
        matrix[:, feature] = rng.choice(pools[feature], n)
    return matrix


def _hit(cells: _Cells, row: int, tree: _Tree, aim: _Aim, known: dict[int, int], rng: np.random.Generator) -> None:
    """Set the cells of a row so that it reaches a node, with a value on or beside its threshold."""
    node = aim.node
    bounds: dict[int, _Bounds] = {}
    step = tree.parents[node]
    while step is not None:
        at, is_left = step
        demanded = bounds.setdefault(tree.features[at], _Bounds())
        if tree.kinds[at] & _CATEGORY:
            left = tree.sets[int(tree.thresholds[at])]
            before = _every(known[tree.features[at]]) if demanded.allowed is None else demanded.allowed
            demanded.allowed = before & left if is_left else before & ~left
        elif is_left:
            demanded.high = min(demanded.high, tree.thresholds[at])
        else:
            demanded.low = max(demanded.low, tree.thresholds[at])
        step = tree.parents[at]
    own, threshold = tree.features[node], tree.thresholds[node]
    for feature, demanded in bounds.items():
        if feature != own:
            cells.put(row, feature, _within(demanded, rng))
    if tree.kinds[node] & _CATEGORY:
        on_path = bounds[own].allowed if own in bounds else None
        cells.put(row, own, _category(_every(known[own]) if on_path is None else on_path, aim.turn, rng))
    else:
        cells.put(row, own, _beside(threshold, aim.turn, rng))


def _within(demanded: _Bounds, rng: np.random.Generator) -> float:
    if demanded.allowed is not None:
        return float(_bit(demanded.allowed, rng))
    low, high = demanded.low, demanded.high
    if low == math.inf:
        return math.nan  # nothing else is sent to the right of infinity
    if low == -math.inf and high == math.inf:
        return 0.0
    # on an edge, or well within: right at the edges of zero, LightGBM takes a number for zero
    values: tuple[float, ...]
    if low == -math.inf:
        values = (high, high - 1 - abs(high))
    elif high == math.inf:
        values = (math.nextafter(low, math.inf), low + 1 + abs(low))
    else:
        values = (high, math.nextafter(low, math.inf), low / 2 + high / 2)
    return _one(values, rng)


def _beside(threshold: float, turn: int, rng: np.random.Generator) -> float:
    """On the threshold, right above it, or below it and special values."""
    if turn == _ON:
        return threshold
    if turn == _ABOVE:
        return math.nextafter(threshold, math.inf)
    return _one((math.nextafter(threshold, -math.inf), *SPECIAL), rng)


def _category(allowed: int, turn: int, rng: np.random.Generator) -> float:
    """One of the categories that reach a set, each in its turn, or an odd one."""
    if turn == _ODD:
        return _one((*ODD_CATEGORIES, *SPECIAL, _bit(allowed, rng) + 0.5), rng)
    codes = _bits(allowed)
    return float(codes[turn % len(codes)]) if len(codes) else 0.0


def _every(known: int) -> int:
    """Bits of all categories up to the last one of a set, and one more that no set has."""
    return (1 << (known.bit_length() + 1)) - 1


def _bits(of: int) -> npt.NDArray[np.int64]:
    """Which bits of a number are set."""
    return np.flatnonzero(np.frombuffer(f"{of:b}"[::-1].encode(), dtype=np.uint8) == ord("1"))


def _bit(of: int, rng: np.random.Generator) -> int:
    """One of the bits that are set; 0 if none is."""
    codes = _bits(of)
    return int(codes[int(rng.random() * len(codes))]) if len(codes) else 0


def _one(values: Sequence[float], rng: np.random.Generator) -> float:
    return values[int(rng.random() * len(values))]  # Generator.choice takes 15 us
