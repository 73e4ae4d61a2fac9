"""What `shadow levels` prints for people: blocks of 80 columns, and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from shadow.archive.level_curve import Basis, Point, cheapest
from shadow.archive.level_figures import Figure, Interval
from shadow.archive.levels import AloneLevels, Coverage, ModelLevels, SegmentLevels
from shadow.comparison.totals import ALL

_LABEL, _CELL = 15, 32
#: From so much money on it is told in thousands, and in millions.
_SCALES = ((1e9, 1e6, " M"), (1e6, 1e3, " k"))


def segment_lines(row: SegmentLevels, unit: float, currency: str) -> Iterator[str]:
    """The levels of both models in a segment."""
    yield (f"{row.segment}: {row.judged:,} judged, {row.fraud:,} of them fraud by labels")
    if not row.judged:
        return
    models = (row.live, row.candidate)
    yield _line("", "live", "candidate")
    yield _line("blocks", *(_blocks(of) for of in models))
    yield from _coverage(*(of.coverage for of in models))
    yield from _shares("precision", [of.precision for of in models])
    yield from _shares("recall", [of.recall for of in models])
    yield from _shares("insult rate", [of.insult_rate for of in models], 3)
    yield from _sums(f"saved {currency}".rstrip(), [of.saved.times(1 / unit) for of in models])
    yield from _reasons("live", row.live.coverage)
    yield from _reasons("candidate", row.candidate.coverage)
    if row.candidate.coverage.number.is_enough:
        yield from _reasons("missed by the candidate", row.live_only.coverage)


def alone_lines(row: SegmentLevels, unit: float, currency: str) -> Iterator[str]:
    """What one model alone blocks in a segment."""
    models = (row.live_only, row.candidate_only)
    yield f"Blocked by one model alone in {row.segment}"
    yield _line("", "live alone", "candidate alone")
    yield _line("blocks", *(_blocks(of) for of in models))
    yield _line(f"amount {currency}".rstrip(), *(_number(of.minor / unit) for of in models))
    yield from _coverage(*(of.coverage for of in models))
    yield from _shares("fraud", [of.fraud for of in models])
    yield from _sums("honest", [of.honest for of in models])
    yield from _sums(f"fraud {currency}".rstrip(), [of.fraud_minor.times(1 / unit) for of in models])
    yield from _sums(f"saved {currency}".rstrip(), [of.saved.times(1 / unit) for of in models])
    yield from _reasons("live alone", row.live_only.coverage)


def told(
    rows: Sequence[SegmentLevels], left_out: Mapping[str, int], differ: int, odd: int, delay: float
) -> Iterator[str]:
    """What has to be known of the figures."""
    whole = next((row for row in rows if row.segment == ALL), None)
    if whole is not None:
        live = whole.live
        yield (f"Pending: {whole.pending:,} transactions of the last {delay:g} days before that; they are not judged")
        if whole.unscored:
            yield (f"Without a score of the candidate: {whole.unscored:,} transactions; they are not judged")
        if live.unknown:
            yield (
                f"Unknown: {live.unknown:,} blocks of live that nobody reviewed; figures lie between all of them "
                "honest and all of them fraud, but for those that released ones stand for"
            )
        if live.coverage.number.drawn:
            yield (
                f"Drawn: {live.coverage.number.drawn:,} would-be blocks, of which {live.coverage.number.released:,} "
                "were released at random; the line `of the drawn` leaves all other blocks of live out"
            )
    if left_out:
        yield ("Left out: " + ", ".join(f"{many:,} {name.replace('_', ' ')}" for name, many in left_out.items()))
    if differ:
        yield (f"Review and chargeback differ on {differ:,}; the review counts")
    if odd:
        yield (
            f"Release probabilities that cannot be: {odd:,}; these decisions are in no estimate. "
            "Which program wrote them?"
        )


def best_lines(model: str, segment: str, points: Sequence[Point], unit: float, currency: str) -> Iterator[str]:
    """At which threshold a model saves most."""
    low, high = cheapest(points)
    head = f"{model} in {segment}: saves most at threshold"

    def at(point: Point, saved: float) -> str:
        money = f"{_number(saved / unit)} {currency}".rstrip()
        is_estimated = point.basis in (Basis.ESTIMATE, Basis.MIXED)
        return f"{point.threshold:g} ({money}" + (f", estimated ± {_number(point.error / unit)})" * is_estimated or ")")

    if low == high:
        best = "" if low.saved_low == low.saved_high else f", or {_number(low.saved_high / unit)} at best"
        yield (f"{head} {at(low, low.saved_low)}{best}")
        return
    yield (head)
    yield f"  {at(low, low.saved_low)} if all that is unknown is honest"
    yield f"  {at(high, high.saved_high)} if all of it is fraud"


def _line(label: str, *cells: str) -> str:
    return (f"{label:<{_LABEL}}" + "".join(f"{cell:<{_CELL}}" for cell in cells)).rstrip()


def _blocks(of: ModelLevels | AloneLevels) -> str:
    return f"{of.blocks:,}, {of.unknown:,} unknown" if of.unknown else f"{of.blocks:,}"


def _coverage(*of: Coverage) -> Iterator[str]:
    if not any(one.number.drawn for one in of):
        return
    parts = []
    for one in of:
        by_money = "" if one.of_money is None else f", {100 * one.of_money:.0f} % of the money"
        parts.append("" if one.of_blocks is None else f"{100 * one.of_blocks:.0f} %{by_money}")
    yield _line("  drawn", *parts)
    cards = [round(one.number.effective) for one in of]
    worth = [
        f"{one.number.released:,}, worth {many:,} card" + "s" * (many != 1) for one, many in zip(of, cards, strict=True)
    ]
    yield _line("  released", *(text if one.number.drawn else "" for text, one in zip(worth, of, strict=True)))


def _reasons(name: str, of: Coverage) -> Iterator[str]:
    """Why there is no estimate, where something was drawn."""
    if not of.number.drawn:
        return
    if of.number.reason is not None:
        yield (f"{name}: {of.number.reason}")
    elif of.amount.reason is not None:
        yield (f"{name}, money: {of.amount.reason}")


def _shares(label: str, figures: Sequence[Figure | None], places: int = 1) -> Iterator[str]:
    yield _line(label, *("none" if one is None else _share(one, places) for one in figures))
    if any(_is_apart(one) for one in figures):
        yield _line(
            "  of the drawn",
            *(_share(one.estimate, places) if one and one.estimate and _is_apart(one) else "" for one in figures),
        )


def _sums(label: str, figures: Sequence[Figure]) -> Iterator[str]:
    yield _line(label, *(_sum(one) for one in figures))
    if any(_is_apart(one) for one in figures):
        yield _line(
            "  of the drawn", *(_sum(one.estimate) if one.estimate and _is_apart(one) else "" for one in figures)
        )


def _is_apart(figure: Figure | None) -> bool:
    """Whether the estimate says something that the figure does not."""
    return figure is not None and figure.estimate is not None and figure.value is None


def _share(of: Figure | Interval, places: int) -> str:
    """A share with its ends, in percent."""
    low, high = (f"{100 * end:.{places}f}" for end in (of.low, of.high))
    return f"{low} to {high} %" if of.value is None else f"{100 * of.value:.{places}f} % ({low} to {high})"


def _sum(of: Figure | Interval) -> str:
    """A number with its ends."""
    most = max(abs(of.low), abs(of.high), abs(of.value or 0.0))
    by, suffix = next(((by, suffix) for least, by, suffix in _SCALES if most >= least), (1.0, ""))
    low, high = (f"{end / by:,.0f}" for end in (of.low, of.high))
    if of.value is None:
        return f"{low} to {high}{suffix}"
    value = f"{of.value / by:,.0f}"
    return f"{value}{suffix}" if low == high == value else f"{value} ({low} to {high}){suffix}"


def _number(value: float) -> str:
    by, suffix = next(((by, suffix) for least, by, suffix in _SCALES if abs(value) >= least), (1.0, ""))
    return f"{value / by:,.0f}{suffix}"
