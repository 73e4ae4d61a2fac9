"""Checks that an installed library still has the names that we use although its documentation does not promise them."""

from __future__ import annotations

import dis
import importlib
import inspect
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from scorer.errors import LibraryError


def require(distribution: str, tested: str, names: Mapping[str, Iterable[str]]) -> None:
    """Check that a library has all of these names.

    distribution: as pip calls it. tested: the version that we are tested with. names: by module, `function`, `Class`,
    or `Class.attribute` of a method, a class attribute, or an attribute that `__init__` sets.

    Raises LibraryError for the first name that is missing, with the version to install.
    """
    for module, wanted in names.items():
        for name in wanted:
            if not _has(module, name):
                raise LibraryError(
                    f"{distribution} {version(distribution)}: {module}.{name} is missing; shadow-scorer needs "
                    f"{distribution} {tested}: pip install {distribution}=={tested}"
                )


def _has(module: str, name: str) -> bool:
    try:
        owner: Any = importlib.import_module(module)
    except ImportError:
        return False
    first, _, attribute = name.partition(".")
    owner = getattr(owner, first, None)
    if owner is None or not attribute:
        return owner is not None
    return hasattr(owner, attribute) or attribute in _set_by_init(owner)


def _set_by_init(owner: type) -> set[str]:
    """Attributes that the `__init__` of a class, or of a class it inherits from, assigns."""
    inits = [inspect.unwrap(vars(kind)["__init__"]) for kind in owner.__mro__ if "__init__" in vars(kind)]
    return {
        step.argval
        for init in inits
        if inspect.isfunction(init)
        for step in dis.get_instructions(init)
        if step.opname == "STORE_ATTR"
    }
