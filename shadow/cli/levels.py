"""`shadow levels`: precision, recall, insults and money of live and a candidate, from the archive's labels."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
import orjson

from scorer.bundles.store import BundleStore
from scorer.deployments.key_files import trusted_keys
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.screen import say
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.archive.drawn import NEEDED
from shadow.archive.level_curve import Point, curve
from shadow.archive.level_sums import MODELS
from shadow.archive.levels import Costs, SegmentLevels
from shadow.archive.levels import levels as levels_of
from shadow.cli.levels_text import alone_lines, best_lines, segment_lines, told
from shadow.comparison.totals import ALL
from shadow.release.criteria_file import load_release
from shadow.settings import ShadowSettings
from shadow.worker.candidate import Candidate

_DAY = click.DateTime(["%Y-%m-%d"])
_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.command("levels")
@click.option("--slot", default="candidate", show_default=True, help="Slot whose bundle is held against live.")
@click.option("--bundle", help="Digest of a bundle, or its first digits, instead of that in the slot.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Its threshold. Without it: that of the slot or bundle.")
@click.option("--archive", help="Where the archive is (setting SHADOW_ARCHIVE).")
@click.option("--from", "first", type=_DAY, help="First event day, in UTC. Without it: the archive's first.")
@click.option("--to", "last", type=_DAY, help="Last event day, in UTC. Without it: the archive's last.")
@click.option("--as-of", type=_MOMENT, help="Labels that came to be known later do not count. Without it: now.")
@click.option(
    "--label-delay",
    type=click.FloatRange(min=0),
    default=45.0,
    show_default=True,
    help="Days in which a label may still come: younger transactions are pending, and not judged.",
)
@click.option(
    "--false-block-cost",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Cost of blocking an honest customer, in the reporting currency.",
)
@click.option(
    "--recovered",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of the money of fraud that comes back although it was allowed.",
)
@click.option("--curve", "curve_of", default=ALL, show_default=True, help="Segment whose thresholds are shown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def levels(
    slot: str,
    bundle: str | None,
    threshold: float | None,
    archive: str | None,
    first: datetime | None,
    last: datetime | None,
    as_of: datetime | None,
    label_delay: float,
    false_block_cost: float,
    recovered: float,
    curve_of: str,
    as_json: bool,
) -> None:
    """Show how well live and a candidate do, by segment, from all decisions and labels in the archive.

    The candidate scores the archived features again. Transactions whose label may still come are pending; of what live
    blocked and nobody reviewed nothing is known, so figures have a worst and a best end. Where live releases some
    of its would-be blocks at random, these stand for all that were drawn.
    """
    settings = load(ShadowSettings, archive=archive)
    release = load_release(settings.release)
    if curve_of not in release.segments.names:
        raise UserError(f"--curve {curve_of}: release.yaml declares no such segment")
    reading = importlib.import_module("shadow.archive.levels_read")
    tables = importlib.import_module("shadow.archive.tables")
    place = tables.Archive(settings.archive, {k: v.get_secret_value() for k, v in settings.archive_options.items()})
    try:
        found = {kind.role: place.existing(kind, getattr(settings.topics, kind.role)) for kind in tables.every_kind()}
        if found["decisions"] is None or found["deployments"] is None:
            raise UserError(
                f"archive {place.uri}: has no decisions or no deployments; start `shadow archive run`, or correct "
                "SHADOW_ARCHIVE"
            )
        deployments = reading.deployments_of(found["deployments"], trusted_keys(settings))
        candidate = _candidate(settings, deployments, slot, bundle, threshold)
        window = reading.Window(
            _date(first),
            _date(last),
            datetime.now(UTC) if as_of is None else as_of.replace(tzinfo=UTC),
            timedelta(days=label_delay),
        )
        unit = deployments.minor_per_unit
        with waiting("scoring the archived decisions again"):
            seen = reading.gathered(found["decisions"], found["labels"], candidate, release.segments, unit, window)
    except tables.UNREADABLE as error:
        raise UserError(f"archive {place.uri}: cannot be read ({tables.in_a_line(error)})") from None
    costs = Costs(false_block_cost * unit, recovered)
    names = release.segments.names
    rows = list(levels_of(seen.sums, names, costs))
    curves = {model: curve(seen.sums, at, names.index(curve_of), costs) for at, model in enumerate(MODELS)}
    currency = None if deployments.currency is None else deployments.currency.code
    left_out = {name: many for name, many in sorted(seen.left_out.items()) if many}
    if as_json:
        click.echo(
            orjson.dumps(
                {
                    "archive": place.uri,
                    "days": [seen.days[0], seen.days[-1]],
                    "as_of": window.as_of.isoformat(),
                    "label_delay_days": label_delay,
                    "candidate": {"digest": candidate.digest, "threshold": candidate.threshold},
                    "currency": currency,
                    "false_block_cost": false_block_cost,
                    "recovered": recovered,
                    "interval": "wilson 95 %, by card-day",
                    "left_out": left_out,
                    "labels_differ": seen.labels_differ,
                    "estimate": {
                        "of": "would-be blocks drawn for a random release",
                        "by": "hajek: released, by 1 / release_probability",
                        "interval": "95 %, by card",
                        "needed": NEEDED,
                        "odd_probabilities": seen.odd_probabilities,
                    },
                    "segments": [_segment_json(row, unit) for row in rows],
                    "curve": {
                        "segment": curve_of,
                        **{model: [_point_json(point, unit) for point in points] for model, points in curves.items()},
                    },
                }
            )
        )
        return
    say(f"Decisions of {seen.days[0]} to {seen.days[-1]}, labels as of {window.as_of:%Y-%m-%d %H:%M} UTC")
    code = currency or ""
    for row in rows:
        _print(segment_lines(row, unit, code))
    for row in rows:
        if row.segment == curve_of and row.judged:
            _print(alone_lines(row, unit, code))
    say("")
    for line in told(rows, left_out, seen.labels_differ, seen.odd_probabilities, label_delay):
        say(line)
    for model, points in curves.items():
        for line in best_lines(model, curve_of, points, unit, code):
            say(line)


def _print(lines: Iterable[str]) -> None:
    """Print a block of lines, below an empty one."""
    for line in ("", *lines):
        say(line)


def _candidate(
    settings: ShadowSettings, deployments: Deployments, slot: str, bundle: str | None, threshold: float | None
) -> Candidate:
    held = deployments.slot(slot)
    if bundle is None and held.digest is None:
        raise UserError(f"slot {slot}: is empty in the archive; name a bundle by --bundle, or a slot that is filled")
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    digest = str(held.digest) if bundle is None else store.resolve(bundle)
    loaded = store.fetch(digest)
    if threshold is None and bundle is None:
        threshold = held.threshold
    return Candidate(
        digest, held.epoch, loaded.threshold if threshold is None else threshold, loaded, dict(deployments.views)
    )


def _date(at: datetime | None) -> date | None:
    return None if at is None else at.date()


def _segment_json(row: SegmentLevels, unit: float) -> dict[str, Any]:
    return {
        "segment": row.segment,
        "judged": row.judged,
        "pending": row.pending,
        "unscored": row.unscored,
        "fraud": row.fraud,
        "live": row.live.to_json(unit),
        "candidate": row.candidate.to_json(unit),
        "live_only": row.live_only.to_json(unit),
        "candidate_only": row.candidate_only.to_json(unit),
    }


def _point_json(point: Point, unit: float) -> dict[str, Any]:
    return {
        "threshold": point.threshold,
        "blocks": point.blocks,
        "fraud": point.fraud,
        "honest": point.honest,
        "unknown": point.unknown,
        "saved_low": point.saved_low / unit,
        "saved_high": point.saved_high / unit,
        "basis": point.basis.value,
        "drawn": point.drawn,
        "effective": point.effective,
        "error": point.error / unit,
    }
