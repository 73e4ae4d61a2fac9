"""The dossier of a suggestion: all that its verdict follows from, under its own digest, and what a replay of it says.
Pure.

Its digest is on the ledger, and each dossier names the one before it, so none can be changed or left out unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from scorer.deployments.records import Suggestion
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.gate.criteria import Release
from shadow.gate.evidence import Evidence, judged, of_segments
from shadow.gate.findings import Judgement
from shadow.release.evidence_json import from_json, to_json

SCHEMA = 1
#: Parts of a judgement that inform and decide nothing. A dossier keeps them as they were told.
INFORMS = frozenset({"matched", "drift", "group", "suggested_threshold", "drifted"})
#: Findings that did not pass and stay on the ledger, at most, and what is kept of each. The dossier has all.
KEPT = 20
_KEPT = ("criterion", "segment", "observed", "bound", "limit", "verdict", "excused", "reason")


class DossierError(UserError):
    """A dossier was changed, is none, or cannot be judged."""


@dataclass(frozen=True)
class Dossier:
    """A dossier as it was read. body: all of it. digest: SHA-256 of its bytes."""

    digest: str
    body: Mapping[str, Any]
    evidence: Evidence
    release: Release

    @property
    def name(self) -> str:
        """What it is about, for people."""
        return f"dossier {self.digest[:12]} (slot {self.body['slot']}, run {self.evidence.candidate.run})"


def canonical(value: Any) -> bytes:
    """JSON in one form: keys sorted, no blanks, numbers in their shortest text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def verdict_json(judgement: Judgement) -> dict[str, Any]:
    """The part of a judgement that follows from evidence and criteria: decision, reason and every finding."""
    return {name: value for name, value in judgement.to_json().items() if name not in INFORMS}


def dossier_of(
    suggestion: Suggestion,
    evidence: Evidence,
    judgement: Judgement,
    release: Release,
    bundles: Mapping[str, Any],
    versions: Mapping[str, str],
    before: str | None,
    challenge: Mapping[str, Any] | None = None,
) -> bytes:
    """The dossier of a suggestion that is to be made.

    bundles: what is known of live, candidate, control and twin, lineage included. versions: of the code and of what it
    computes with. before: digest of the dossier before it on the ledger, None if there is none. challenge: what planted
    harm would have come to (`shadow.gate.challenge`).
    """
    told = judgement.to_json()
    return canonical(
        {
            "schema": SCHEMA,
            "kind": "dossier",
            "before": before,
            "at": suggestion.at,
            "slot": suggestion.slot,
            "target": suggestion.target.model_dump(mode="json"),
            "expects": suggestion.expects,
            "bundles": bundles,
            "criteria": release.model_dump(mode="json", by_alias=True),
            "criteria_digest": release.digest,
            "divisions": list(release.segments.root),  # in order, which sorted keys lose
            "implied": release.implied,
            "labels_as_of": suggestion.at,
            "versions": versions,
            "evidence": to_json(evidence),
            "verdict": verdict_json(judgement),
            "informs": {name: told[name] for name in sorted(INFORMS)},
            "challenge": challenge,
        }
    )


def digest_of(content: bytes) -> str:
    """SHA-256, as hex."""
    return hashlib.sha256(content).hexdigest()


def read_dossier(content: bytes, expect: str) -> Dossier:
    """A dossier from its bytes. Raises DossierError if its digest is not `expect`, or it is none of this version."""
    digest = digest_of(content)
    if digest != expect:
        raise DossierError(f"dossier {expect[:12]}: its content was changed (digest {digest[:12]}); fetch it again")
    try:
        body = orjson.loads(content)
        if body["schema"] != SCHEMA or body["kind"] != "dossier":
            raise ValueError("another schema")
        segments = body["criteria"]["segments"]
        ordered = {name: segments[name] for name in body["divisions"]}
        if len(ordered) != len(segments):
            raise ValueError("divisions")
        release = Release.again({**body["criteria"], "segments": ordered}, body["implied"])
        if digest_of(canonical(body["criteria"])) != body["criteria_digest"]:
            raise ValueError("its criteria are not those that it names")
        found = Dossier(digest, body, from_json(body["evidence"]), release)
        if not isinstance(body["verdict"]["decision"], str) or not isinstance(body["verdict"]["findings"], list):
            raise ValueError("no verdict")
        for one in body["verdict"]["findings"]:
            if not all(isinstance(one[name], str) for name in ("criterion", "segment", "verdict", "reason")):
                raise ValueError("a finding of another shape")
        str(body["slot"]), str(body["at"]), dict(body["versions"])
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise DossierError(f"dossier {digest[:12]}: is none that this version reads ({why})") from None
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """A finding that is another one in a replay. was, now: its verdict, None where there is no such finding. reason:
    the present one, or the former if there is none any more."""

    criterion: str
    segment: str
    was: str | None
    now: str | None
    reason: str

    @property
    def told(self) -> str:
        """A line for people."""
        if self.was == self.now:
            return f"{self.criterion} in {self.segment}: {self.now} as before, with other numbers: {self.reason}"
        change = f"{self.was or 'not judged'} → {self.now or 'not judged'}"
        return f"{self.criterion} in {self.segment}: {change}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay of a dossier says. is_same: byte for byte."""

    was: str
    now: str
    reason: str
    is_same: bool
    differences: tuple[Difference, ...]


def replay(dossier: Dossier, release: Release | None = None) -> Replayed:
    """Judge the evidence of a dossier again. release: other criteria; None for its own.

    Raises DossierError if the evidence was not counted in a way that these criteria can judge.
    """
    if release is not None:
        why = why_not_under(dossier.release, release) or _why_no_lineage(dossier.evidence, release)
        if why is not None:
            raise DossierError(f"{dossier.name}: cannot be judged under these criteria: {why}")
    evidence = dossier.evidence
    if release is not None:
        evidence = of_segments(evidence, dossier.release.segments.names, release.segments.names)
    now = orjson.loads(canonical(verdict_json(judged(evidence, release or dossier.release))))
    was = dossier.body["verdict"]
    is_same = canonical(was) == canonical(now)
    found = () if is_same else tuple(_differences(was["findings"], now["findings"], with_numbers=release is None))
    return Replayed(str(was["decision"]), str(now["decision"]), str(now["reason"]), is_same, found)


def why_not_under(before: Release, release: Release) -> str | None:
    """Why evidence that was counted for some criteria cannot be judged by others; None if it can."""
    for name, part in release.segments.root.items():
        if before.segments.root.get(name) != part:
            return f"segments {name}=… were not counted, or in another way"
    for field in ("amount_cap", "recent_days", "tolerated_error_rate"):
        was, now = getattr(before, field), getattr(release, field)
        if was != now:
            return f"{field} was {was:g} when it was counted, and is {now:g}"
    return None


def _why_no_lineage(evidence: Evidence, release: Release) -> str | None:
    if release.require_lineage and evidence.origin is None:
        return "require_lineage is set, and the dossier does not hold where its candidate came from"
    return None


def _differences(
    was: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]], with_numbers: bool
) -> list[Difference]:
    """with_numbers: also findings whose verdict is the same."""
    before, after = ({(f["criterion"], f["segment"]): f for f in part} for part in (was, now))
    out = []
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key), after.get(key)
        first, then = None if old is None else _verdict(old), None if new is None else _verdict(new)
        if first != then or (with_numbers and old != new):
            out.append(Difference(*key, first, then, str((new or old or {}).get("reason"))))
    return out


def _verdict(finding: Mapping[str, Any]) -> str:
    return f"{finding['verdict']}{' (excused)' if finding.get('excused') else ''}"


def last_dossier(deployments: Deployments) -> str | None:
    """The digest of the newest dossier on the ledger; None if there is none."""
    found = [line.entry.dossier for line in deployments.ledger if isinstance(line.entry, Suggestion)]
    return next((digest for digest in reversed(found) if digest is not None), None)


def beside(suggestion: Suggestion, judgement: Judgement, digest: str) -> Suggestion:
    """A suggestion with its dossier beside it, so that its own line stays small.

    Of the judgement it keeps the decision, what it comes to, and up to `KEPT` findings that did not pass.
    """
    told = orjson.loads(canonical(judgement.to_json()))
    open_ones = [one for one in told["findings"] if one["verdict"] != "pass"]
    small = {name: told[name] for name in ("decision", "run", "covered_hours", "needed_hours", "suggested_threshold")}
    small |= {
        "reason": told["reason"][:1000],
        "passed": judgement.passed,
        "findings": [{name: one[name] for name in _KEPT} for one in open_ones[:KEPT]],
        "unlisted": max(0, len(open_ones) - KEPT),
    }
    evidence = {**suggestion.evidence, "judgement": small}
    return suggestion.model_copy(update={"evidence": evidence, "dossier": digest})
