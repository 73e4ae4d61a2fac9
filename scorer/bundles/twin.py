"""Says whether one bundle is the seed twin of another: the same in everything but the seed of its training. Pure."""

from __future__ import annotations

from typing import Any

from scorer.bundles.manifest import Manifest

_SEED = "seed"


def why_not_twin(original: Manifest, other: Manifest) -> str | None:
    """Why `other` is no seed twin of `original`, as the end of a sentence about it; None if it is one.

    What two twins disagree on is chance alone, so everything that a seed does not change must be equal. The threshold
    is chosen on each one's own scores and may differ.
    """
    for manifest in (original, other):
        if manifest.training is None or _SEED not in manifest.parameters:
            return "one of the two was trained elsewhere, and its manifest does not say on what"
    if original.training != other.training:
        return "it was trained on other data"
    if original.features != other.features or original.view.features != other.view.features:
        return "it uses other features"
    ours, theirs = map(_without_seed, (original, other))
    if ours != theirs:
        named = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        return f"it was trained with another {', '.join(named)}"
    if original.parameters[_SEED] == other.parameters[_SEED]:
        return "it was trained with the same seed"
    return None


def _without_seed(manifest: Manifest) -> dict[str, Any]:
    """What was asked for, as far as a manifest says it, but for the seed and the threshold.

    How many rounds there are in the end may follow from the seed, where the training ends early.
    """
    asked = dict(manifest.parameters)
    if manifest.lineage is not None:
        recipe = manifest.lineage.recipe
        asked |= recipe.model_dump(exclude={"parameters", "features", "threshold"})
        if recipe.early_stopping is not None:
            asked.pop("num_iterations", None)
            asked |= {name: value for name, value in recipe.parameters.items() if name == "num_iterations"}
    asked.pop(_SEED, None)
    return asked
