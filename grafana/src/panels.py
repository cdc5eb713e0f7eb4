"""Kinds of panels, set up once: each has a title, a description that says what to do, a unit and explicit refIds."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import barchart, bargauge, common, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus
from grafana_foundation_sdk.models import statetimeline as timeline

from grafana.src.colours import CALM, NO_JUDGEMENT, Steps, thresholds
from grafana.src.fields import changed, in_colour, mapped, when_empty, words
from grafana.src.variables import SOURCE

LAST: Final = "lastNotNull"
# Narrower bars are unreadable, and each costs as much as a wide one.
MOST_BARS: Final = 120


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = ""
    instant: bool = False  # one value now, not a line
    table: bool = False


def now(expr: str, legend: str = "") -> Query:
    return Query(expr, legend, instant=True)


def over_time(expr: str, legend: str = "") -> Query:
    return Query(expr, legend)


def _targets(queries: Sequence[Query]) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery(
            ref_id=letter,
            datasource=SOURCE,
            editor_mode=prometheus.QueryEditorMode.CODE,
            expr=query.expr,
            legend_format=query.legend or "__auto",
            instant=query.instant,
            range_val=not query.instant,
            format_val=prometheus.PromQueryFormat.TABLE if query.table else prometheus.PromQueryFormat.TIME_SERIES,
        )
        for letter, query in zip(string.ascii_uppercase, queries, strict=False)
    ]


def finished(
    builder: Builder[model.Panel],
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str = "short",
    steps: Steps = NO_JUDGEMENT,
    decimals: int | None = None,
    step: str | None = None,
    last: str | None = None,
) -> model.Panel:
    """What all kinds share. step: the least step of the queries; last: the panel's own time range, such as 30d."""
    panel = builder.build()
    panel.title = title
    panel.description = description
    panel.datasource = SOURCE
    panel.targets = [*_targets(queries)]
    panel.interval = step
    panel.time_from = last
    settings = panel.field_config or model.FieldConfigSource()
    defaults = settings.defaults or model.FieldConfig()
    defaults.unit = unit
    defaults.thresholds = thresholds(steps).build()
    defaults.decimals = decimals
    settings.defaults = defaults
    panel.field_config = settings
    return panel


def stats(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = NO_JUDGEMENT,
    decimals: int | None = None,
    spark: bool = False,
    step: str | None = None,
    last: str | None = None,
) -> model.Panel:
    """One big number, or some side by side, each with its legend as name."""
    builder = (
        stat.Panel()
        .graph_mode(shape.BigValueGraphMode.AREA if spark else shape.BigValueGraphMode.NONE)
        .color_mode(shape.BigValueColorMode.VALUE)
        .justify_mode(shape.BigValueJustifyMode.AUTO)
        .text_mode(shape.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else shape.BigValueTextMode.VALUE)
        .orientation(shape.VizOrientation.AUTO)
        .wide_layout(False)
        .reduce_options(common.ReduceDataOptions().calcs([LAST]))
    )
    panel = finished(
        builder, title, description, queries, unit=unit, steps=steps, decimals=decimals, step=step, last=last
    )
    return when_empty(panel, "unknown")


def _legend(values: Sequence[str]) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(shape.LegendDisplayMode.LIST)
        .placement(shape.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(list(values))
    )


def _tooltip() -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(shape.TooltipDisplayMode.MULTI).sort(shape.SortOrder.DESCENDING)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = NO_JUDGEMENT,
    decimals: int | None = None,
    step: str | None = None,
    last: str | None = None,
    fill: int = 0,
    bridge: bool = False,
    low: float | None = 0,
    high: float | None = None,
) -> model.Panel:
    """bridge: connect points across gaps, if samples are rarer than steps."""
    builder = (
        timeseries.Panel()
        .legend(_legend([]))
        .tooltip(_tooltip())
        .line_width(2)
        .fill_opacity(fill)
        .show_points(shape.VisibilityMode.AUTO)
        .point_size(5)
        .span_nulls(bridge)
        .axis_border_show(False)
    )
    if low is not None:
        builder.min(low)
    if high is not None:
        builder.max(high)
    return finished(
        builder, title, description, queries, unit=unit, steps=steps, decimals=decimals, step=step, last=last
    )


def columns(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    decimals: int | None = 0,
    step: str,
    last: str | None = None,
    stacked: bool = True,
) -> model.Panel:
    """Bars along time; each covers the step that begins at its position, as promql.bars() counts."""
    builder = (
        timeseries.Panel()
        .legend(_legend([]))
        .tooltip(_tooltip())
        .draw_style(shape.GraphDrawStyle.BARS)
        .bar_alignment(shape.BarAlignment.AFTER)
        .bar_width_factor(0.8)
        .line_width(0)
        .fill_opacity(85)
        .axis_soft_max(1)
        .min(0)
    )
    if stacked:
        builder.stacking(common.StackingConfig().mode(shape.StackingMode.NORMAL).group("A"))
    panel = finished(builder, title, description, queries, unit=unit, decimals=decimals, step=step, last=last)
    panel.max_data_points = MOST_BARS
    return when_empty(panel, "none known")


def ranking(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = NO_JUDGEMENT,
    decimals: int | None = None,
    high: float | None = None,
) -> model.Panel:
    """Horizontal bars, the longest first; queries give few series, are instant, and a label of theirs is the legend."""
    builder = (
        bargauge.Panel()
        .display_mode(shape.BarGaugeDisplayMode.BASIC)
        .value_mode(shape.BarGaugeValueMode.TEXT)
        .name_placement(shape.BarGaugeNamePlacement.TOP)  # on the left they are cut
        .show_unfilled(False)
        .orientation(shape.VizOrientation.HORIZONTAL)
        .sizing(shape.BarGaugeSizing.MANUAL)
        .min_viz_height(34)
        .max_viz_height(40)
        .reduce_options(common.ReduceDataOptions().calcs([LAST]))
        .text(common.VizTextDisplayOptions().title_size(12).value_size(14))
        .min(0)
    )
    if high is not None:
        builder.max(high)
    panel = finished(builder, title, description, queries, unit=unit, steps=steps, decimals=decimals)
    if panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.no_value = "none known"
        # Without it, a single bar would have no name.
        panel.field_config.defaults.display_name = f"${{__field.labels.{queries[0].legend.strip('{}')}}}"
    return panel


def history(
    title: str,
    description: str,
    *queries: Query,
    texts: Mapping[str, tuple[str, str]],
    step: str,
    last: str | None = None,
    bridge: bool = True,
) -> model.Panel:
    """States along time, a row each; with `bridge`, a state lasts until the next known one."""
    builder = (
        statetimeline.Panel()
        .merge_values(True)
        .show_value(shape.VisibilityMode.NEVER)
        .row_height(0.8)
        .fill_opacity(85)
        .line_width(0)
        .span_nulls(bridge)
        .legend(_legend([]))
        .tooltip(common.VizTooltipOptions().mode(shape.TooltipDisplayMode.SINGLE))
    )
    panel = finished(builder, title, description, queries, step=step, last=last)
    if isinstance(panel.options, timeline.Options):
        panel.options.per_page = 0  # hides the buttons for a single page; the builder accepts no 0
    # A fixed colour, which the texts' colours override: by default, the legend would explain an unused scale.
    return mapped(in_colour(panel, CALM), texts)


def categories(
    title: str,
    description: str,
    query: Query,
    *,
    label: str,
    texts: Mapping[str, tuple[str, str]] | None = None,
    unit: str = "short",
    decimals: int | None = None,
) -> model.Panel:
    """Upright bars, one for each value of a label, in the order of the values; texts: their names."""
    builder = (
        barchart.Panel()
        .x_field(label)
        .orientation(shape.VizOrientation.VERTICAL)
        .show_value(shape.VisibilityMode.NEVER)
        .bar_width(0.8)
        .x_tick_label_max_length(12)
        .fill_opacity(85)
        .line_width(0)
        .min(0)
        .legend(common.VizLegendOptions().show_legend(False))
        .tooltip(_tooltip())
    )
    panel = finished(builder, title, description, [query], unit=unit, decimals=decimals)
    panel.transformations = [
        model.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": [label, "Value"]}}),
        model.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": label}]}),
    ]
    if texts:
        changed(panel, label, mappings=[words(texts)])
    return panel
