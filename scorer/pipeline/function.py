"""A feature in Python: a pure function over the columns of a batch, which a package brings by an entry point.

    from scorer.pipeline.function import Columns, Feature

    def _cents(columns: Columns) -> np.ndarray:
        return np.round(columns.features["amount"] * 100) % 100

    cents = Feature(version="1", compute=_cents)

The package declares it in its pyproject.toml, under `[project.entry-points."scorer.features"]`, and the feature view
names it with its version and what it uses. A row of what it returns may depend on that row of the columns only: how
transactions are cut into batches must not be seen. It may look at nothing else: no clock, no file, no random number,
nothing kept from the call before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

from scorer.errors import SettingsError
from scorer.frozen import Frozen

GROUP = "scorer.features"

Floats = npt.NDArray[np.float64]
#: One attribute of n transactions.
Column = list[Any] | npt.NDArray[Any]


@dataclass(frozen=True)
class Columns:
    """n transactions as a feature in Python sees them; nothing in it can be written to.

    features: by name, those of the view that the function uses: float64 (n,), NaN where missing, codes of categories.
    occurred_ms: int64 (n,), milliseconds since 1970. merchants: of each. attributes: of these features, by name, those
    that are attributes: numbers as float64 (n,), others as lists, None where missing.
    """

    features: Mapping[str, Floats]
    occurred_ms: npt.NDArray[np.int64]
    merchants: Sequence[str]
    attributes: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.occurred_ms)

    def cut(self, rows: slice) -> Columns:
        """The transactions at some positions."""
        return Columns(
            {name: _own(column[rows]) for name, column in self.features.items()},
            _own(self.occurred_ms[rows]),
            self.merchants[rows],
            {name: _own(column[rows]) for name, column in self.attributes.items()},
        )


def _own(column: Any) -> Any:
    """A copy that can be written to by nobody. A list is cut from another one already."""
    if not isinstance(column, np.ndarray):
        return column
    column = np.array(column, order="C")
    column.flags.writeable = False
    return column


@dataclass(frozen=True)
class Feature:
    """What an entry point names. version: change it with what `compute` returns. compute: float64 (n,) of n rows."""

    version: str
    compute: Callable[[Columns], Any]


class Function(Frozen):
    """A feature in Python as a view declares it: the name of its entry point, its version, and the features of the view
    that it is given."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    version: str = Field(min_length=1, max_length=40)
    uses: tuple[str, ...] = Field((), max_length=1000)

    def definition(self, known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """How it is computed. known: definitions of the features that it may use."""
        return {"kind": "function", "version": self.version, "uses": {name: known[name] for name in self.uses}}

    def columns(
        self,
        names: Sequence[str],
        matrix: Floats,
        occurred_ms: npt.NDArray[np.int64],
        merchants: Sequence[str],
        attributes: Mapping[str, Column],
    ) -> Columns:
        """Copies of what it is given. names: of the columns of a matrix."""
        features = {name: matrix[:, names.index(name)] for name in self.uses}
        known = {name: attributes[name] for name in self.uses if name in attributes}
        return Columns(features, occurred_ms, merchants, known).cut(slice(None))

    @cached_property
    def feature(self) -> Feature:
        """What its entry point names. Raises SettingsError if there is none, or it is none of this version."""
        found = list(entry_points(group=GROUP, name=self.name))
        if len(found) != 1:
            how = "no package here declares it" if not found else f"{len(found)} packages declare it"
            raise SettingsError(f"feature {self.name}: {how} as an entry point of {GROUP}; install the one that does")
        try:
            feature = found[0].load()
        except (Exception, SystemExit) as error:
            raise SettingsError(f"feature {self.name}: {found[0].value} cannot be imported ({_said(error)})") from None
        if not isinstance(feature, Feature):
            raise SettingsError(f"feature {self.name}: {found[0].value} is no scorer.pipeline.function.Feature")
        if feature.version != self.version:
            raise SettingsError(
                f"feature {self.name}: the view declares version {self.version}, and {feature.version[:40]} is "
                "installed; install that version, or declare this one, which makes another feature of it"
            )
        return feature

    def of(self, columns: Columns) -> tuple[Floats, int]:
        """What it says of n transactions: float64 (n,), NaN where it raises or is not finite; and for how many it
        raises.

        Where it raises, or does not return float64 (n,), the transactions are halved until those at fault are alone,
        so that no transaction depends on others.
        """
        if not len(columns):
            return np.empty(0), 0
        try:
            return self._asked(columns), 0
        except (Exception, SystemExit):
            if len(columns) == 1:
                return np.full(1, np.nan), 1
        middle = len(columns) // 2
        (one, fewer), (other, more) = self.of(columns.cut(slice(middle))), self.of(columns.cut(slice(middle, None)))
        return np.concatenate([one, other]), fewer + more

    def _asked(self, columns: Columns) -> Floats:
        with np.errstate(all="ignore"):
            found = self.feature.compute(columns)
        if not isinstance(found, np.ndarray) or found.dtype != np.float64 or found.shape != (len(columns),):
            raise TypeError(f"returns {_kind(found)}, expected float64 ({len(columns)},)")
        return np.where(np.isfinite(found), found, np.nan)

    def check(self, columns: Columns) -> None:
        """Raises SettingsError if it cannot be had, raises, returns anything but float64 (n,), or a row depends on the
        other rows. columns: rows of every kind."""
        feature, n = self.feature, len(columns)
        assert feature  # noqa: S101 - so that what is wrong with it is told as it is
        try:
            whole = self._asked(columns)
            alone = [self._asked(columns.cut(slice(at, at + 1))) for at in range(n)]
            again = self._asked(columns)
        except (Exception, SystemExit) as error:
            raise SettingsError(f"feature {self.name}: {_said(error)}; correct the package that declares it") from None
        if whole.tobytes() != np.concatenate(alone).tobytes() or whole.tobytes() != again.tobytes():
            raise SettingsError(
                f"feature {self.name}: what it says of a transaction depends on the others of its batch, or on what "
                "came before; correct the package that declares it"
            )


def _kind(found: object) -> str:
    if isinstance(found, np.ndarray):
        return f"{found.dtype} {found.shape}"
    return f"a {type(found).__name__}"


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
