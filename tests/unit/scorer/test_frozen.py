"""Copies of what is frozen."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cached_property

from pydantic import BaseModel, RootModel

import scorer
import shadow
from scorer.frozen import Frozen
from scorer.pipeline.layout import Layout
from scorer.pipeline.view import FeatureView
from shadow.gate.criteria import Release, parse


def models() -> set[type[BaseModel]]:
    """All that are defined in the two packages."""
    for package in (scorer, shadow):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    every, waiting = set[type[BaseModel]](), [BaseModel]
    while waiting:
        below = waiting.pop().__subclasses__()
        waiting += below
        every |= {one for one in below if one.__module__.split(".")[0] in ("scorer", "shadow")}
    return every


def test_a_copy_with_other_criteria_has_another_digest() -> None:
    release = parse("schema: 1")
    before = release.digest
    other = release.model_copy(update={"minimum_covered_hours": 300})
    assert other.digest == parse("schema: 1\nminimum_covered_hours: 300").digest != before
    assert release.digest == before
    assert other.implied == release.implied


def test_a_copy_of_a_layout_and_of_a_view_follows_its_own_values() -> None:
    layout = Layout(compose={"card_id": "{A}"})
    assert layout.parts == {"card_id": ("A",)}
    assert layout.model_copy(update={"compose": {"card_id": "{B}"}}).parts == {"card_id": ("B",)}
    view = FeatureView(name="one")
    assert view.id.startswith("one-")
    assert view.model_copy(update={"name": "two"}).id.startswith("two-")


def test_every_model_that_remembers_what_it_worked_out_forgets_it_in_a_copy() -> None:
    """Cached in a class above, too. A root model is one value, of which no copy differs."""
    remember = [
        one
        for one in models()
        if any(isinstance(value, cached_property) for above in one.__mro__ for value in vars(above).values())
    ]
    assert {Release, Layout, FeatureView} <= set(remember)
    assert [one.__name__ for one in remember if not issubclass(one, Frozen | RootModel)] == []
