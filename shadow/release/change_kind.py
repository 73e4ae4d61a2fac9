"""Which kind of change a promotion would be: other data, another threshold, or another design. Pure."""

from __future__ import annotations

from scorer.bundles.manifest import Manifest
from scorer.deployments.records import ChangeKind
from scorer.deployments.slots import Slot

#: Parameters that do not make another design.
_NO_DESIGN = frozenset({"seed", "num_threads"})


def kind_of(live: Slot, candidate: Slot, ours: Manifest | None, theirs: Manifest | None) -> ChangeKind | None:
    """The kind of change that a promotion would be; None if a manifest does not tell. ours, theirs: of live and of the
    candidate."""
    if live.digest is None or candidate.digest is None:
        return None
    if live.digest == candidate.digest:
        return "threshold"
    if ours is None or theirs is None or ours.training is None or theirs.training is None:
        return None
    designs = [
        (
            manifest.features,
            manifest.view.features,
            {name: value for name, value in manifest.parameters.items() if name not in _NO_DESIGN},
        )
        for manifest in (ours, theirs)
    ]
    return "retrain" if designs[0] == designs[1] else "design"
