"""What a run of the bench says: a JSON file, a table in Markdown, and a plot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from harness.places import ROOT

BUILD = ROOT / "build"
MARK = "<!-- {} of `make bench` -->"
#: What must be reached: the key, whether at least (True) or at most, and the figure.
TARGETS: dict[tuple[str, str], tuple[bool, float]] = {
    ("ratios", "scorer/floor"): (True, 0.85),
    ("ratios", "scorer/handwritten"): (True, 1.4),
    ("ratios", "scorer/faust"): (True, 20),
    ("ratios", "scorer/quix"): (True, 3),
    ("ratios", "scorer/bytewax"): (True, 1.5),
    ("ratios", "shadow/floor"): (True, 0.85),
    ("ratios", "nested JSON/JSON"): (True, 0.8),
    ("ratios", "Avro/JSON"): (True, 0.6),
    ("latency_ms", "scorer_p50_10"): (False, 4),
    ("latency_ms", "scorer_p99_10"): (False, 12),
    ("latency_ms", "scorer_p99_50"): (False, 25),
    ("ratios", "p99/handwritten"): (False, 1),
    ("ratios", "p99_80/handwritten"): (False, 1),
    ("ratios", "live_with_3_shadows/none"): (True, 0.99),
    ("ratios", "live_with_3_shadows/none_p99"): (False, 1.25),
    ("ratios", "partitions_512/4"): (False, 1.2),
    ("ratios", "scorers_2/1"): (True, 0.9),
    ("rates", "start_s"): (False, 5),
    ("rates", "predict_speedup"): (True, 3),
    ("memory", "velocity_bytes_per_card"): (False, 800),
    ("rates", "recovery_cards_per_s"): (True, 100_000),
    ("ratios", "redis_10m/5m"): (False, 1.05),
}
NAMES = {
    "scorer": "**this scorer**",
    "floor": "its floor: the pure pipeline, no Kafka",
    "handwritten": "a hand-written loop on confluent-kafka",
    "bytewax": "Bytewax",
    "quix": "Quix Streams",
    "faust": "a plain Faust agent",
    "handwritten, our predictor": "the hand-written loop, with our predictor",
    "bytewax, our predictor": "Bytewax, with our predictor",
    "quix, our predictor": "Quix Streams, with our predictor",
    "faust, our predictor": "a plain Faust agent, with our predictor",
    "scorer, lz4": "this scorer, decisions compressed with lz4",
    "scorer, zstd": "this scorer, decisions compressed with zstd",
    "scorer, nested JSON": "this scorer, records of nested JSON",
    "scorer, Avro": "this scorer, records in Avro",
    "scorer, Avro, all nullable": "this scorer, records in Avro, every field nullable",
    "scorer, Protobuf": "this scorer, records in Protobuf",
    "shadow": "**this shadow**",
    "shadow_floor": "its floor: decode, predict, compare, tally",
}


#: Ratios of growth, by what they are called.
GROWN = {
    "partitions_512/4": "a backlog in 512 partitions, of that in 4: CPU time for a transaction",
    "scorers_2/1": "two scorers of a group, of one: transactions for each CPU second",
}


def rounded(value: Any) -> Any:
    """Numbers to four significant digits, in whatever they are."""
    if isinstance(value, dict):
        return {key: rounded(cell) for key, cell in value.items()}
    if isinstance(value, list):
        return [rounded(cell) for cell in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write(result: Mapping[str, Any], is_published: bool) -> None:
    """Write build/bench.json, print the table, and draw build/bench.svg if there are latencies."""
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench.json").write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    text = "\n".join([*table(result), *(["", *whole(result)] if "latency_ms" in result else [])])
    print(text)
    for line in compared(result):
        print(line)
    if is_published:
        publish(text, ROOT / "docs" / "performance.md")
    if "latency_ms" in result:
        draw(result, BUILD / "bench.svg")
        if is_published:
            (ROOT / "docs" / "bench.svg").write_bytes((BUILD / "bench.svg").read_bytes())


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """Throughput and processor time of every contender. A ratio that was measured in turns has their interval."""
    rates, cpu, intervals = result["rates"], result["cpu_s_per_1000"], result.get("intervals", {})
    yield "| on one core | transactions a second | CPU s for 1,000 | lowest to highest rate | scorer or shadow, times |"
    yield "|---|---:|---:|---:|---:|"
    for name, words in NAMES.items():
        if name in result["spread"]:
            low, high = result["spread"][name]
            ours = "shadow" if name.startswith("shadow") else "scorer"
            key = "shadow/floor" if name == "shadow_floor" else f"{ours}/{name}"
            times = "" if name == ours else f"{result['ratios'].get(key, rates[ours] / rates[name]):.2f}"
            if key in intervals:
                times += " ({:.2f} to {:.2f})".format(*intervals[key])
            yield f"| {words} | {rates[name]:,.0f} | {cpu[name]:.4f} | {low:,.0f} to {high:,.0f} | {times} |"


def whole(result: Mapping[str, Any]) -> Iterator[str]:
    """What only a whole run has."""
    took, rates, memory, ratios = result["latency_ms"], result["rates"], result["memory"], result["ratios"]
    yield "| from append to append, ms: p50 / p99 / p99.9 | 10 % load | 50 % | 80 % |"
    yield "|---|---:|---:|---:|"
    for who, words in (("scorer", "this scorer"), ("handwritten", "the hand-written loop")):
        cells = (
            " / ".join(f"{took[f'{who}_{p}_{load}']:.0f}" for p in ("p50", "p99", "p999")) for load in (10, 50, 80)
        )
        yield f"| {words} | {' | '.join(cells)} |"
    asleep = f"{took['cores_may_sleep_p50']:.0f} / {took['cores_may_sleep_p99']:.0f}"
    yield f"| this scorer, on cores that may sleep | | {asleep} | |"
    yield ""
    yield "| beside it | |"
    yield "|---|---:|"
    yield f"| scoring 250 rows, times as fast as with LightGBM's predict | {rates['predict_speedup']:.1f} |"
    yield f"| start of a worker to its first decision | {rates['start_s']:.1f} s |"
    live = ratios["live_with_3_shadows/none"], ratios["live_with_3_shadows/none_p99"]
    yield f"| live at 50 % load with 3 shadows beside it, of that alone: rate | {live[0]:.3f} |"
    yield f"| the same: p99 | {live[1]:.2f} |"
    yield f"| memory of a card | {memory['velocity_bytes_per_card']:.0f} bytes |"
    yield f"| cards taken over a second | {rates['recovery_cards_per_s']:,.0f} |"
    for key, words in GROWN.items():
        low, high = result["intervals"][key]
        yield f"| {words} | {ratios[key]:.2f} ({low:.2f} to {high:.2f}) |"
    yield f"| Redis memory after 10 million comparisons, of that after 5 million | {ratios['redis_10m/5m']:.3f} |"


def compared(result: Mapping[str, Any]) -> Iterator[str]:
    """Each target beside what was reached."""
    for (part, key), (is_least, figure) in TARGETS.items():
        found = result.get(part, {}).get(key)
        if found is not None:
            word = "at least" if is_least else "at most"
            reached = found >= figure if is_least else found <= figure
            interval = result.get("intervals", {}).get(key) if part == "ratios" else None
            around = "" if interval is None else "   turns {:,.4g} to {:,.4g}".format(*interval)
            state = "reached" if reached else "MISSED "
            yield f"{state:<8} {part}.{key:<32} {found:>12,.4g}   {word} {figure:,g}{around}"


def publish(text: str, path: Path) -> None:
    """Put the tables between their marks on a page."""
    begin, end = MARK.format("begin"), MARK.format("end")
    page, n = re.subn(
        f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", lambda _: f"{text}\n", path.read_text(), flags=re.DOTALL
    )
    assert n == 1, f"{path.name} lacks {begin} … {end}"
    path.write_text(page)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Throughput with its spread, and latency by load."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "bench", "font.family": "sans-serif", "font.size": 9}
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.5, 3.2), width_ratios=(3, 2), layout="constrained")
    names = ["floor", "handwritten", "scorer", "bytewax", "quix", "faust"][::-1]
    words = ["pure pipeline, no Kafka", "hand-written loop", "this scorer", "Bytewax", "Quix Streams", "plain Faust"][
        ::-1
    ]
    rates = [result["rates"][name] for name in names]
    error = [
        [rate - result["spread"][name][0] for name, rate in zip(names, rates, strict=True)],
        [result["spread"][name][1] - rate for name, rate in zip(names, rates, strict=True)],
    ]
    colours = ["#0072B2" if name == "scorer" else "#B0B7BF" for name in names]
    left.barh(words, rates, xerr=error, color=colours, ecolor="#444444", capsize=2)
    left.set_title("transactions a second on one core", loc="left", fontsize=10)
    left.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    took = result["latency_ms"]
    for who, colour, line in (("scorer", "#0072B2", "-"), ("handwritten", "#D55E00", "--")):
        for what, marker in (("p99", "o"), ("p50", "s")):
            values = [took[f"{who}_{what}_{load}"] for load in (10, 50, 80)]
            name = "this scorer" if who == "scorer" else "hand-written loop"
            right.plot((10, 50, 80), values, line, color=colour, marker=marker, label=f"{name}, {what}")
    right.set_title("append to append, ms", loc="left", fontsize=10)
    right.set_xlabel("load, % of the scorer's saturation")
    right.set_xticks((10, 50, 80))
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
