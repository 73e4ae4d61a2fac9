"""What `shadow serve` knows of bundles, and the dossiers of its suggestions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scorer.bundles.manifest import Manifest
from scorer.bundles.store import BundleStore
from scorer.deployments.key_files import signer, trusted_keys
from scorer.deployments.records import LIVE, ChangeKind, Suggestion
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.gate.challenge import Challenge
from shadow.gate.criteria import Release
from shadow.gate.evidence import Evidence
from shadow.gate.findings import Judgement
from shadow.gate.origin import Origin
from shadow.release.archive import keep_dossier, versions
from shadow.release.change_kind import kind_of
from shadow.release.dossier import beside, dossier_of, last_dossier
from shadow.release.origin import origin_of
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)

#: Manifests kept in memory, those of live and the candidates.
HELD = 16


class Papers:
    """Reads manifests and keeps dossiers. All of it may wait for the store."""

    def __init__(self, settings: ShadowSettings) -> None:
        self._settings = settings
        self._bundles = BundleStore(settings.store, settings.cache, settings.store_seconds)
        self._manifests: dict[str, Manifest] = {}

    def manifest(self, digest: str) -> Manifest:
        """The manifest of a bundle, kept in memory. Raises BundleError."""
        if digest not in self._manifests:
            found = self._bundles.manifest(digest)
            self._manifests = {**dict(list(self._manifests.items())[1 - HELD :]), digest: found}
        return self._manifests[digest]

    def facts(self, digest: str) -> dict[str, Any]:
        """What is known of a bundle and its lineage, or why nothing is."""
        try:
            manifest = self.manifest(digest)
        except UserError as error:
            return {"digest": digest, "trouble": str(error)}
        return {
            "digest": digest,
            "code_version": manifest.code_version,
            "training": manifest.training.model_dump() if manifest.training else None,
            "view": manifest.view.id,
            "metrics": manifest.metrics.get("overall"),
            "parent": manifest.parent,
            **({} if manifest.made_by is None else {"made_by": manifest.made_by}),
        }

    def known(self, digest: str) -> dict[str, Any]:
        """Facts as a suggestion has them."""
        return {name: value for name, value in self.facts(digest).items() if name != "parent"}

    def change_of(self, deployments: Deployments, slot: str) -> ChangeKind | None:
        """Which kind of change a promotion of a slot would be; None if that cannot be told."""
        live, candidate = deployments.slot(LIVE), deployments.slot(slot)
        return kind_of(live, candidate, self._manifest_of(live.digest), self._manifest_of(candidate.digest))

    def _manifest_of(self, digest: str | None) -> Manifest | None:
        try:
            return None if digest is None else self.manifest(digest)
        except UserError:
            return None

    def _origin_of(self, digest: str | None) -> Origin | None:
        manifest = self._manifest_of(digest)
        return None if manifest is None else origin_of(manifest)

    def with_dossier(
        self,
        deployments: Deployments,
        proposed: Suggestion,
        evidence: Evidence,
        judgement: Judgement,
        release: Release,
        challenge: Challenge | None = None,
    ) -> Suggestion:
        """The suggestion with its dossier in the store; as it is, with all of the judgement, if that cannot be.

        challenge: what planted harm would have come to.
        """
        slots = (LIVE, proposed.slot, self._settings.control)
        origin = evidence.origin or self._origin_of(proposed.target.digest)
        bundles: Mapping[str, Any] = {
            name: None if state.digest is None else {**self.facts(state.digest), "threshold": state.threshold}
            for name, state in ((n, deployments.slot(n)) for n in slots)
        }
        content = dossier_of(
            proposed,
            replace(evidence, origin=origin),  # also where it did not count, for a replay by criteria that ask for it
            judgement,
            release,
            {**bundles, "twin": proposed.evidence["twin"]},
            versions(),
            last_dossier(deployments),
            None if challenge is None else challenge.to_json(),
        )
        try:
            digest = keep_dossier(self._bundles, content, signer(self._settings, trusted_keys(self._settings)))
        except UserError as error:
            log.warning("slot %s: suggested without a dossier: %s", proposed.slot, error)
            return proposed
        return beside(proposed, judgement, digest)
