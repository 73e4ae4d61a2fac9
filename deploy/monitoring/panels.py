"""Builds panels and variables for the dashboards.

Colours are those of Okabe and Ito (2008), "Color universal design", which people with any colour vision can tell apart.
Verdicts are also words, and heat maps also differ in brightness (Cividis).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import statetimeline as state_timeline
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmaps

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8C8C8C"
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, GREY)
#: Width of a dashboard, in Grafana's grid columns.
WIDTH = 24

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${source}")
IN = 'namespace=~"$namespace"'
SLOT = f'{IN}, slot=~"$slot"'
SEGMENT = f'{SLOT}, segment=~"$segment"'

#: Decisions on a slot, and verdicts on a criterion in a segment: value of the metric, word, colour.
DECISIONS = ((1, "promote", BLUE), (0, "hold", GREY), (-1, "reject", VERMILION))
LIVE_WORSE = ((0, "no harm found", BLUE), (1, "worse", VERMILION))
COMPLAINTS_RISEN = ((0, "no rise found", BLUE), (1, "risen", VERMILION))
VERDICTS = ((1, "pass", BLUE), (0, "thin", GREY), (-1, "fail", VERMILION))
#: What is asked for of samples from a panel: none is left out as noise, as the panel counts all.
EVERY = "noise=show"
#: What an empty panel says.
NOTHING = "Nothing was measured in this time range for what is chosen above"
Words = Sequence[tuple[int, str, str]]


@dataclass(frozen=True)
class Query:
    """A query and the legend of its series. colour: of all its series; None: from the palette."""

    expr: str
    legend: str
    colour: str | None = None


def links(base: str, *labels: str) -> list[dashboard.DashboardLink]:
    """Links from a point of a series to the page of the samples of its slot and segment. base: address of `shadow
    serve`. labels: labels of the series to filter by; `outcome` is the direction."""
    chosen = "".join(
        f"{'direction' if name == 'outcome' else name}=${{__field.labels.{name}:percentencode}}&" for name in labels
    )
    where = f"{base}/explore?{chosen}{EVERY}"
    return [
        dashboard.DashboardLink("Samples around this point").url(f"{where}&at=${{__value.time}}").target_blank(True),
        dashboard.DashboardLink("Samples in the time range shown")
        .url(f"{where}&scored_since=${{__from}}&scored_until=${{__to}}")
        .target_blank(True),
    ]


def _targets(queries: Sequence[Query], instant: bool = False, shape: str | None = None) -> list[Builder[Dataquery]]:
    made: list[Builder[Dataquery]] = []
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(letter)
        target = target.datasource(SOURCE)
        if instant:
            target = target.instant()
        if shape is not None:
            target = target.format(shape)  # type: ignore[arg-type]
        made.append(target)
    return made


def _mapping(words: Words) -> list[Any]:
    return [
        model.ValueMap(
            options={
                str(value): model.ValueMappingResult(text=text, color=colour, index=at)
                for at, (value, text, colour) in enumerate(words)
            }
        )
    ]


def _fixed(colour: str) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(colour)


def _limits(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    made = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def lines(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    samples: Sequence[dashboard.DashboardLink] = (),
    limit: float | None = None,
    stacked: bool = False,
    empty: str = NOTHING,
) -> timeseries.Panel:
    """Series over time. samples: links of each point. limit: drawn as a dashed line. empty: why there may be none."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .no_value(empty)
        .targets(_targets(queries))
        .line_width(2)
        .fill_opacity(30 if stacked else 0)
        .show_points(options.VisibilityMode.AUTO)
        .span_nulls(False)
        .data_links(list(samples))
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI))
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.TABLE)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if limit is not None:
        panel = panel.thresholds(_limits((None, "transparent"), (limit, VERMILION))).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED)
        )
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        if query.colour is not None:
            colour = {"mode": "fixed", "fixedColor": query.colour}
            panel = panel.override_by_query(letter, [model.DynamicConfigValue(id_val="color", value=colour)])
    return panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    words: Words = (),
    steps: Sequence[tuple[float | None, str]] = ((None, BLUE),),
    empty: str = NOTHING,
) -> stat.Panel:
    """The current value of each series, large. words: shown instead of values. steps: colours from a value on. empty:
    why there may be none."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .no_value(empty)
        .targets(_targets([query]))
        .mappings(_mapping(words) if words else [])
        .thresholds(_limits(*steps))
        .color_mode(options.BigValueColorMode.BACKGROUND_SOLID if words else options.BigValueColorMode.VALUE)
        .text_mode(options.BigValueTextMode.VALUE_AND_NAME)
        .graph_mode(options.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def states(
    title: str,
    description: str,
    query: Query,
    words: Words,
    samples: Sequence[dashboard.DashboardLink] = (),
    empty: str = NOTHING,
) -> state_timeline.Panel:
    """A word for each series, over time. empty: why there may be none."""
    return (
        state_timeline.Panel()
        .title(title)
        .description(description)
        .unit("none")
        .datasource(SOURCE)
        .no_value(empty)
        .targets(_targets([query]))
        .mappings(_mapping(words))
        .thresholds(_limits((None, VERMILION), (0, GREY), (1, BLUE)))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .show_value(options.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.85)
        .data_links(list(samples))
        .legend(
            common.VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )


def heat(title: str, description: str, unit: str, query: Query, empty: str = NOTHING) -> heatmap.Panel:
    """A histogram over time. empty: why there may be none."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .no_value(empty)
        .targets(_targets([query], shape="heatmap"))
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmaps.HeatmapColorMode.SCHEME)
            .scheme("Cividis")
            .scale(heatmaps.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.4)
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(options.AxisPlacement.LEFT))
        .show_legend()
        .show_color_scale(True)
    )


def rows(
    title: str,
    description: str,
    queries: Sequence[Query],
    columns: dict[str, str],
    words: tuple[str, Words] | None = None,
    samples: str | None = None,
    empty: str = NOTHING,
    first: str | None = None,
) -> table.Panel:
    """A table with a column for each query, joined by their labels. columns: headings, by label or `Value #A`.

    words: a column, and the words shown in it instead of values. samples: address of the link of each row. empty: why
    there may be none. first: the column whose largest values come first.
    """
    hidden = {"Time": True} | {f"Time {n + 1}": True for n in range(len(queries))}
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .unit("short")
        .datasource(SOURCE)
        .no_value(empty)
        .targets(_targets(queries, instant=True, shape="table"))
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={
                    "excludeByName": hidden,
                    "renameByName": columns,
                    "indexByName": {name: at for at, name in enumerate(columns)},
                },
            )
        )
    )
    if words is not None:
        column, called = words
        mappings = [
            {
                "type": "value",
                "options": {str(v): {"text": text, "color": c, "index": at} for at, (v, text, c) in enumerate(called)},
            }
        ]
        panel = panel.override_by_name(
            column,
            [
                model.DynamicConfigValue(id_val="mappings", value=mappings),
                model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            ],
        )
    if first is not None:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(first).desc(True)])
    if samples is not None:
        panel = panel.data_links([dashboard.DashboardLink("Samples of this row").url(samples).target_blank(True)])
    return panel


def board(
    name: str, title: str, description: str, samples: str, variables: Sequence[str], panels: Sequence[Any]
) -> dict[str, Any]:
    """A dashboard as JSON. variables: which of `slot` and `segment` it has. panels: rows as (height, panels from left
    to right), and texts, which become headings. samples: default address of `shadow serve`."""
    made = (
        dashboard.Dashboard(title)
        .uid(f"shadow-scorer-{name}")
        .description(description)
        .tags(["shadow-scorer"])
        .editable()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(_asked("namespace", "label_values(scorer_live_epoch, namespace)"))
        .link(
            dashboard.DashboardLink("Other dashboards")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["shadow-scorer"])
            .include_vars(True)
            .keep_time(True)
            .as_dropdown(True)
        )
    )
    if "slot" in variables:
        made = made.with_variable(
            _asked("slot", 'label_values(shadow_slot_epoch{namespace=~"$namespace", slot!="live"}, slot)')
        )
    if "segment" in variables:
        made = made.with_variable(
            _asked("segment", 'label_values(shadow_run_outcomes{namespace=~"$namespace"}, segment)', "all")
        )
    made = made.with_variable(
        dashboard.TextBoxVariable("samples").label("Address of shadow serve").default_value(samples)
    )
    y = 0
    for at, part in enumerate(panels):
        if isinstance(part, str):
            made = made.with_row(dashboard.Row(part).grid_pos(model.GridPos(h=1, w=WIDTH, x=0, y=y)))
            y += 1
            continue
        height, beside = part
        width = WIDTH // len(beside)
        for i, panel in enumerate(beside):
            made = made.with_panel(
                panel.id(100 * at + i + 1).grid_pos(model.GridPos(h=height, w=width, x=i * width, y=y))
            )
        y += height
    return made.build()  # type: ignore[return-value]


def _asked(name: str, query: str, current: str | None = None) -> dashboard.QueryVariable:
    text = "All" if current is None else current
    value = "$__all" if current is None else current
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .datasource(SOURCE)
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(text=text, value=value, selected=True))
    )
