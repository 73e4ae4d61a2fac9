"""`shadow serve` puts a dossier beside each suggestion, and goes on in one line where it cannot."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bundles import BUNDLE
from harness.ledgers import AT, a_ledger
from harness.totals import a_run
from scorer.bundles.store import BundleStore
from scorer.deployments.records import Target
from shadow.gate.criteria import parse
from shadow.gate.evidence import Evidence, judged
from shadow.gate.findings import Decision
from shadow.gate.origin import Origin
from shadow.release.archive import all_dossiers, fetch_dossier
from shadow.release.dossier import replay
from shadow.release.look import Labels, Look
from shadow.release.origin import NOT_TOLD
from shadow.release.suggestion import proposal
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings

RELEASE = parse(
    "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 24\n"
    "may_stay_insufficient: ['recent_*: *']\n"
)


def seen() -> Look:
    totals = replace(a_run(), covered=tuple(range(700, 748)))
    evidence = Evidence(totals, a_run(), "", 100.0, (), (), None)
    judgement = judged(evidence, RELEASE)
    assert judgement.decision is Decision.PROMOTE, judgement.reason
    return Look("candidate", totals, a_run(), judgement, Labels((), (), ()), evidence=evidence)


@pytest.mark.slow
@pytest.mark.parametrize("is_writable", [True, False])
def test_a_suggestion_has_a_dossier_where_the_store_can_be_written(
    is_writable: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    uri = str(tmp_path / "store") if is_writable else str(tmp_path / "file")
    serve = Serve(ShadowSettings(store=uri, cache=tmp_path / "cache"), RELEASE)
    state = a_ledger()
    proposed = proposal(state, seen(), RELEASE, {}, AT)
    assert proposed is not None
    with caplog.at_level(logging.WARNING):
        made = serve._whole(state, seen(), proposed)
    store = BundleStore(uri, tmp_path / "cache")
    if not is_writable:
        assert made.dossier is None
        assert made.evidence["judgement"] == proposed.evidence["judgement"], "all of it, as before"
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("slot candidate: suggested without a dossier: store ")
        assert "\n" not in line
        return
    assert [made.dossier] == all_dossiers(store)
    assert made.evidence["judgement"]["decision"] == "promote"
    found = fetch_dossier(store, str(made.dossier)[:8], None)
    assert found.body["bundles"]["live"]["threshold"] == 0.5
    assert "trouble" in found.body["bundles"]["live"], "its manifest is not in this store"
    assert made.change is None, "nobody knows what kind of change it would be"
    assert made.evidence["challenge"]["stopped"] == pytest.approx(found.body["challenge"]["stopped"])
    assert replay(found).is_same
    assert found.evidence.origin is None, "nothing is known of a bundle that is not in this store"
    assert serve._whole(state, seen(), proposed) == made, "the same again"


def test_a_dossier_holds_where_its_candidate_comes_from_also_if_nobody_asked(tmp_path: Path) -> None:
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    digest = store.put(BUNDLE)
    serve = Serve(ShadowSettings(store=store.uri, cache=tmp_path / "cache"), RELEASE)
    proposed = proposal(a_ledger(), seen(), RELEASE, {}, AT)
    assert proposed is not None
    proposed = proposed.model_copy(update={"target": Target(digest=digest, threshold=0.5)})
    made = serve._whole(a_ledger(), seen(), proposed)
    found = fetch_dossier(store, str(made.dossier), None)
    assert found.evidence.origin == Origin(doubt=NOT_TOLD)
    assert replay(found).is_same
