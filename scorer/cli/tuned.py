"""`scorer train --tune`: a search of parameters, shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from scorer.bundles.lineage import Recipe, Tuned
from scorer.errors import UserError
from scorer.training import tuning
from scorer.training.history import History

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar


def check(trials: int | None, recipe: Recipe, is_twin: bool) -> None:
    """Raise UserError if a search cannot be made, before anything is read."""
    if trials is None:
        return
    if is_twin:
        raise UserError("--tune: a twin has the parameters of its original; leave the option out")
    tuning.searched(recipe)
    tuning.optuna()


def tuned(
    history: History, recipe: Recipe, trials: int | None, threads: int, tell: Callable[[str], Any]
) -> tuple[Recipe, Tuned | None]:
    """The recipe with what a search finds; the recipe itself if none is asked for. Raises UserError."""
    if trials is None:
        return recipe, None
    shown: ProgressBar[float] = click.progressbar(
        length=trials,
        label=f"trying parameters on {len(history.labels)}",
        show_pos=True,
        file=sys.stderr,
        item_show_func=lambda best: None if best is None else f"best average precision {best:.4f}",
    )
    with shown as bar:
        found, told = tuning.tune(history, recipe, trials, lambda best: bar.update(1, best), threads)
    before = "no model" if told.first is None else f"{told.first:.4f}"
    chosen = " ".join(f"{name}={found.parameters[name]:.10g}" for name in told.searched)
    tell(
        f"best of {trials} trials: average precision {told.best:.4f} on what sets the threshold ({before} with the "
        f"defaults): {chosen}"
    )
    return found, told
