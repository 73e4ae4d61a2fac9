"""`shadow levels`: precision, recall, insults and money of live and a candidate, from the archive's labels."""

from __future__ import annotations

import importlib
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click
import orjson

from scorer.bundles.store import BundleStore
from scorer.deployments.key_files import trusted_keys
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.screen import say, show, width
from scorer.process.waiting import waiting
from scorer.settings import load
from scorer.text_table import table
from shadow.archive.levels import MODELS, Costs, Figure, Point, SegmentLevels, cheapest, curve
from shadow.archive.levels import levels as levels_of
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
    blocked and nobody reviewed nothing is known, so figures have a worst and a best end.
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
    _print(rows, unit, currency or "")
    for line in _told(rows, left_out, seen.labels_differ, label_delay):
        say(line)
    for model, points in curves.items():
        say(f"{model} in {curve_of}: {_best(points, unit, currency or '')}")


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
    }


def _print(rows: list[SegmentLevels], unit: float, currency: str) -> None:
    heads = ("segment", "judged", "fraud", "model", "blocks", "unknown", "precision", "recall", "insult rate", "saved")
    cells = []
    for row in rows:
        for model in MODELS:
            of = getattr(row, model)
            first = (row.segment, f"{row.judged:,}", f"{row.fraud:,}") if model == MODELS[0] else ("", "", "")
            shares = (_share(of.precision), _share(of.recall), _share(of.insult_rate, 3))
            cells.append((*first, model, f"{of.blocks:,}", f"{of.unknown:,}", *shares, _money(of.saved, unit)))
    show(table(heads, cells, width()))
    say(f"saved: {currency} against a model that blocks nothing".replace("  ", " "))


def _share(figure: Figure | None, places: int = 1) -> str:
    """A share with its ends, in percent."""
    if figure is None:
        return "none"
    low, high = (f"{100 * end:.{places}f}" for end in (figure.low, figure.high))
    return f"{low} to {high} %" if figure.value is None else f"{100 * figure.value:.{places}f} % ({low} to {high})"


def _money(figure: Figure, unit: float) -> str:
    low, high = (f"{end / unit:,.0f}" for end in (figure.low, figure.high))
    return f"{low} to {high}" if figure.value is None else f"{figure.value / unit:,.0f} ({low} to {high})"


def _told(rows: list[SegmentLevels], left_out: dict[str, int], differ: int, delay: float) -> list[str]:
    whole = next((row for row in rows if row.segment == ALL), None)
    lines = []
    if whole is not None:
        lines.append(
            f"Pending: {whole.pending:,} transactions of the last {delay:g} days before that; they are not judged"
        )
        if whole.unscored:
            lines.append(f"Without a score of the candidate: {whole.unscored:,} transactions; they are not judged")
        if whole.live.unknown:
            lines.append(
                f"Unknown: {whole.live.unknown:,} blocks of live that nobody reviewed; figures lie between all of them "
                "honest and all of them fraud"
            )
    if left_out:
        lines.append("Left out: " + ", ".join(f"{many:,} {name.replace('_', ' ')}" for name, many in left_out.items()))
    if differ:
        lines.append(f"Review and chargeback differ on {differ:,}; the review counts")
    return lines


def _best(points: list[Point], unit: float, currency: str) -> str:
    low, high = cheapest(points)

    def told(point: Point, saved: float) -> str:
        return f"{point.threshold:g} saves most ({saved / unit:,.0f} {currency}".rstrip() + ")"

    if low == high:
        return f"threshold {told(low, low.saved_low)}"
    other = told(high, high.saved_high)
    return f"threshold {told(low, low.saved_low)} if all that is unknown is honest, {other} if all of it is fraud"
