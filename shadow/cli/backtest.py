"""`shadow backtest`: what the gate would say of a bundle, had it been in the shadow of archived decisions."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from scorer.bundles.bundle import Bundle
from scorer.bundles.store import BundleStore, files_in, proven
from scorer.deployments.records import CANDIDATE
from scorer.deployments.records import Judged as Verdict
from scorer.errors import UserError
from scorer.process.screen import say
from scorer.settings import load
from shadow.cli.archive import opened, tables_module
from shadow.cli.gate import EXIT, tell
from shadow.cli.history import MOMENT
from shadow.gate.criteria import Release
from shadow.gate.findings import Decision
from shadow.local import embedded
from shadow.release.criteria_file import load_release
from shadow.release.wording import BACKTEST, backtested
from shadow.settings import ShadowSettings
from shadow.store.connection import connect

if TYPE_CHECKING:  # these need the extra `archive`, and whoever lacks it is told so by the command
    from shadow.archive.backtest import Contender, Judged
    from shadow.archive.stretch import Stretch
    from shadow.report.document import Report


class _Day(click.ParamType):
    """An event day, in UTC."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(str(value).strip())
        except ValueError:
            option = param.opts[0] if param is not None else "day"
            raise UserError(f"{option} {str(value)[:40]!r}: is no day; expected one such as 2026-01-31") from None


DAY = _Day()
_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class Asked:
    """What was asked for. as_of: the moment at which the labels were known."""

    candidate: str
    control: str | None
    threshold: float | None
    first: date | None
    last: date | None
    as_of: datetime
    page: Path | None
    summary: Path | None


@dataclass(frozen=True)
class Done:
    """What came of it. spent: seconds in all, and those of scoring alone. report: if a page or summary is wanted."""

    decisions: int
    unreadable: int
    labels: int
    days: tuple[date, date]
    gaps: Sequence[str]
    runs: Sequence[Judged]
    decision: Decision
    chosen: Judged
    spent: tuple[float, float]
    report: Report | None


@click.command()
@click.option("--candidate", required=True, help="Bundle to try: its digest or first digits, or a folder.")
@click.option("--control", help="Seed twin of live, as A/A control; without one no floor is known.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Threshold of the candidate. Default: the bundle's own.")
@click.option("--from", "first", type=DAY, help="First event day, such as 2026-01-01 (UTC). Default: the archive's.")
@click.option("--to", "last", type=DAY, help="Last event day, which is included. Default: the archive's.")
@click.option("--as-of", type=MOMENT, help="Use labels that were known by this time (UTC). Default: now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--brief", is_flag=True, help="Show only what stands against the candidate.")
@click.option("--report", "page", type=_FILE, help="File of a page on the run that decides, as `shadow report` has it.")
@click.option("--markdown", "summary", type=_FILE, help="File of a summary of that run in Markdown.")
def backtest(
    candidate: str,
    control: str | None,
    threshold: float | None,
    first: date | None,
    last: date | None,
    as_of: datetime | None,
    as_json: bool,
    brief: bool,
    page: Path | None,
    summary: Path | None,
) -> None:
    """Judge a bundle on archived decisions by release.yaml, as if it had been in the shadow when they were made.

    Needs the archive and the store of bundles; Kafka and Redis are not asked, and nothing is written to them. Each
    epoch of live is a run of its own. Exits with 4 for reject, 3 for hold, and 0 if nothing stands against the
    candidate so far: a backtest can reject and inform, it never promotes.
    """
    if first is not None and last is not None and first > last:
        raise UserError(f"--from {first}: is after --to {last}; there is no day between them")
    for path in (page, summary):  # said now, and not after minutes
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"{path}: cannot be written (there is no such folder); name another file")
    settings = load(ShadowSettings)
    release = load_release(settings.release)
    asked = Asked(candidate, control, threshold, first, last, as_of or datetime.now(UTC), page, summary)
    done = asyncio.run(_backtest(settings, release, asked))
    written = _written(done, asked)
    if as_json:
        click.echo(orjson.dumps(_json(done, release), option=orjson.OPT_SERIALIZE_NUMPY))
    else:
        _tell(done, brief, control is not None)
        for path in written:
            say(f"wrote {path}")
    sys.exit(EXIT[done.decision])


def tried(address: str, store: str, candidate: str, control: str | None, first: date, as_of: datetime) -> Verdict:
    """The verdict of a backtest for `scorer rotate`, as `scorer.training.elsewhere.Tries` says. Raises UserError."""
    settings = load(ShadowSettings, archive=address, store=store)
    release = load_release(settings.release)
    asked = Asked(candidate, control, None, first, as_of.date(), as_of, None, None)
    done = asyncio.run(_backtest(settings, release, asked))
    judgement = done.chosen.look.judgement
    against = [one for one in judgement.to_json()["findings"] if one["verdict"] == "fail"]
    return Verdict(
        decision=done.decision.value,
        reason=backtested(judgement),
        run=str(done.chosen.info.run),
        criteria=release.digest,
        against=tuple(orjson.loads(orjson.dumps(against, option=orjson.OPT_SERIALIZE_NUMPY))),
    )


async def _backtest(settings: ShadowSettings, release: Release, asked: Asked) -> Done:
    tables = opened(settings)
    from shadow.archive import backtest as tried
    from shadow.archive.stretch import Stretch

    started = time.perf_counter()
    topics = settings.topics
    for name in (topics.decisions, topics.deployments):
        if name not in tables:
            raise UserError(f"archive {settings.archive}: has no table of topic {name}; start `shadow archive run`")
    with _reading(settings):
        stretch = Stretch(tables[topics.decisions].stored(), asked.first, asked.last)
        days = _days(stretch, asked, tables[topics.decisions].days())
        published = tried.archived_deployments(tables[topics.deployments].stored())
        options = {name: secret.get_secret_value() for name, secret in settings.archive_options.items()}
        gaps = tables_module().Archive(settings.archive, options).existing_gaps()
    contenders = _contenders(settings, asked, published.views, stretch)
    with tempfile.TemporaryDirectory(prefix="backtest-") as folder, embedded.private_store(Path(folder)):
        redis = connect(f"unix://{Path(folder) / embedded.SOCKET}")
        try:
            replay = tried.Backtest(redis, settings, release, contenders)
            labels, as_of_ms = 0, int(asked.as_of.timestamp() * 1000)
            with _reading(settings):
                with click.progressbar(length=stretch.n, label="backtest", show_pos=True, file=sys.stderr) as bar:
                    await replay.replay(stretch, published.minor_per_unit, bar.update)
                if topics.labels in tables:
                    labels = await tried.merge_labels(redis, tables[topics.labels], as_of_ms, settings)
            runs = await replay.judged(published, lambda run: click.echo(f"judging run {run}", err=True))
            found = tried.verdict(runs)
            if found is None:
                raise UserError(_nothing(runs))
            lost = tried.lost_within(gaps, topics.decisions, stretch)
            report = None
            if asked.page is not None or asked.summary is not None:
                report = await _report(redis, found[1], lost, release, settings)
        finally:
            await redis.aclose()
    scoring = sum(contender.spent[0] for contender in contenders.values())
    spent = time.perf_counter() - started, scoring
    return Done(replay.decisions, replay.unreadable, labels, days, lost, runs, *found, spent, report)


@contextmanager
def _reading(settings: ShadowSettings) -> Iterator[None]:
    """Raise a UserError where the tables cannot be read: the store of objects is away, or a file is not what it was."""
    try:
        yield
    except tables_module().UNREADABLE as error:
        told = tables_module().in_a_line(error)
        raise UserError(
            f"archive {settings.archive}: cannot be read ({told}); run it again, and see that no other program deletes "
            "its files"
        ) from None


def _days(stretch: Stretch, asked: Asked, there: Sequence[str]) -> tuple[date, date]:
    """The event days of a stretch. Raises UserError if it has no decisions. there: days of the archive."""
    days = [of for view, of in stretch.days.items() if view is not None]
    if not days:
        wanted = " to ".join(str(day or "…") for day in (asked.first, asked.last))
        has = f"it has {there[0]} to {there[-1]}" if there else "it is empty so far"
        raise UserError(f"archive: has no decisions of event days {wanted}; {has}")
    return min(of.first for of in days), max(of.last for of in days)


def _contenders(
    settings: ShadowSettings, asked: Asked, views: Mapping[str, Any], stretch: Stretch
) -> dict[str, Contender]:
    """The bundles by slot, each fit for what it is to score."""
    from shadow.archive.backtest import EPOCH, Contender, require_fit

    store = BundleStore(settings.store, settings.cache, settings.store_seconds, settings.predictor)
    out = {}
    for slot, name in ((CANDIDATE, asked.candidate), (settings.control, asked.control)):
        if name is None:
            continue
        bundle = _bundle(store, name, slot)
        require_fit(bundle, views, stretch.days)
        bundle.warm()
        own = asked.threshold if slot == CANDIDATE and asked.threshold is not None else bundle.threshold
        out[slot] = Contender(bundle.digest, EPOCH, own, bundle, dict(views))
    return out


def _bundle(store: BundleStore, name: str, slot: str) -> Bundle:
    """A bundle by its digest or in a folder. A control goes into the store, where it is shown to be a twin of live."""
    if not Path(name).is_dir():
        return store.fetch(store.resolve(name))
    return proven(*files_in(Path(name))) if slot == CANDIDATE else store.adopt(Path(name))


def _nothing(runs: Sequence[Judged]) -> str:
    """Why no run says anything of the candidate."""
    why = dict.fromkeys(run.why_apart for run in runs if run.why_apart is not None)
    told = "; ".join(why) or "every decision was a duplicate, a repeat or a refund"
    return f"archive: its decisions of these event days tell nothing about the candidate ({told}); choose others"


async def _report(redis: Any, run: Judged, gaps: Sequence[str], release: Release, settings: ShadowSettings) -> Report:
    from shadow.report.gather import gather
    from shadow.worker.explain import Explainer

    explainer = Explainer(BundleStore(settings.store, settings.cache, settings.store_seconds))
    explainer.views = run.deployments.views
    found = await gather(redis, run.deployments, CANDIDATE, release, settings, explainer.explained)
    return replace(found, is_backtest=True, gaps=[*found.gaps, *gaps])


def _written(done: Done, asked: Asked) -> list[Path]:
    from shadow.report.markdown import markdown
    from shadow.report.page import html

    out = []
    for path, build in ((asked.page, html), (asked.summary, markdown)):
        if path is not None and done.report is not None:
            try:
                path.write_text(build(done.report), encoding="utf-8")
            except OSError as error:
                raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None
            out.append(path)
    return out


def _json(done: Done, release: Release) -> dict[str, Any]:
    return {
        "verdict": "none against it" if done.decision is Decision.PROMOTE else done.decision.value,
        "reason": backtested(done.chosen.look.judgement),
        "note": BACKTEST,
        "decided_by": str(done.chosen.info.run),
        "criteria": release.digest,
        "from": done.days[0],
        "to": done.days[1],
        "decisions": done.decisions,
        "unreadable": done.unreadable,
        "labels": done.labels,
        "gaps": done.gaps,
        "seconds": round(done.spent[0], 3),
        "scoring_seconds": round(done.spent[1], 3),
        "runs": [
            {
                "live": run.info.live_digest or None,
                "live_threshold": run.info.live_threshold,
                "candidate": run.info.candidate_digest,
                "candidate_threshold": run.info.candidate_threshold,
                "compared": run.compared,
                "offsets": {str(partition): reach for partition, reach in sorted(run.info.offsets.items())},
                "says_nothing": run.why_apart,
                **run.look.judgement.to_json(),
            }
            for run in done.runs
        ],
    }


def _tell(done: Done, brief: bool, has_control: bool) -> None:
    for run in done.runs:
        if run is not done.chosen:
            judgement = run.look.judgement
            verdict = f"says nothing: {run.why_apart}" if run.why_apart else backtested(judgement)
            say(f"{_named(run)}: {run.compared:,} compared; {verdict}")
    for gap in done.gaps:
        say(gap)
    tell(done.chosen.look, brief, backtest=_named(done.chosen))
    if not has_control:
        say("Name a seed twin of live with --control: without it no floor is known, and nothing passes that needs one")
    whole, scoring = done.spent
    records = f", {done.unreadable:,} records that are none" if done.unreadable else ""
    say(
        f"{done.decisions:,} decisions of {done.days[0]} to {done.days[1]}{records} and {done.labels:,} labels in "
        f"{whole:.1f} s, {scoring:.1f} of them for scoring"
    )
    say(f"{BACKTEST}.")


def _named(run: Judged) -> str:
    return f"run {run.info.run} against live {run.info.live_digest[:12] or 'under an override'}"
