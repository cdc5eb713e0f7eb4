"""Tables: instant queries side by side, columns with readable names and units, links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders import table as build
from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model

from grafana.src.colours import BAD, CALM, PLAIN, WATCH, Steps, thresholds
from grafana.src.fields import changed, nan_as, words
from grafana.src.links import to_flow
from grafana.src.panels import Query, finished

VALUE: Final = "Value"  # the value of a table's only query; of several it is "Value #A", "Value #B", …


@dataclass(frozen=True, slots=True)
class Column:
    """A label or a value of the queries, by Grafana's name for it. Columns keep their order; others are left out."""

    of: str
    name: str
    unit: str | None = None
    width: int | None = None
    decimals: int | None = None
    steps: Steps | None = None  # colours the text of the cell
    bar: bool = False  # a bar in the cell, coloured by the steps
    full: float | None = None  # the value of a bar that fills its cell; without it, the greatest one
    texts: Mapping[str, tuple[str, str]] | None = None
    links: Sequence[model.DashboardLink] = ()
    hidden: bool = False  # only for links
    computed: tuple[str, str, str] | None = None  # from two others: the first, the operator, the second


# What to_flow() needs, with the link on the flow's name.
FLOW: Final = Column("flow", "Flow", links=(to_flow(),))
DEPLOYMENT: Final = Column("deployment", "Deployment", links=(to_flow(),))
WORKSPACE: Final = Column("workspace", "Workspace", hidden=True)
PIPELINE_COLUMNS: Final = (WORKSPACE, FLOW, DEPLOYMENT)
# Both in one column, for narrow tables; the queries need promql.named().
PIPELINE: Final = (
    WORKSPACE,
    Column("flow", "flow", hidden=True),
    Column("deployment", "deployment", hidden=True),
    Column("pipeline", "Pipeline", links=(to_flow(),)),
)


# Codes, because words would not sort in this order.
_CRITICALITIES: Final = {"critical": ("1", PLAIN), "standard": ("2", CALM), "low": ("3", CALM), "": ("4", CALM)}
CRITICALITY: Final = {code: (name or "-", colour) for name, (code, colour) in _CRITICALITIES.items()}
_SEVERITIES: Final = {"critical": ("1", BAD), "warning": ("2", WATCH), "info": ("3", CALM)}
SEVERITY: Final = {code: (name, colour) for name, (code, colour) in _SEVERITIES.items()}


def by_criticality(expr: str) -> str:
    """`expr` with the label criticality as a code of CRITICALITY."""
    return _coded(expr, "criticality", _CRITICALITIES)


def by_severity(expr: str) -> str:
    """`expr` with the label severity as a code of SEVERITY."""
    return _coded(expr, "severity", _SEVERITIES)


def _coded(expr: str, label: str, codes: Mapping[str, tuple[str, str]]) -> str:
    for name, (code, _) in codes.items():
        expr = f'label_replace({expr}, "{label}", "{code}", "{label}", "{name}")'
    return expr


def rows(expr: str) -> Query:
    """A query for a table or a chart by category. Aggregate it, or the metric's name keeps queries apart."""
    return Query(expr, instant=True, table=True)


def table(
    title: str,
    description: str,
    *queries: Query,
    columns: Sequence[Column],
    sort: str = "",
    descending: bool = True,
    all_good: str | None = None,
) -> model.Panel:
    """sort: a column's name. all_good: the text of an empty table, if that is good news."""
    builder = build.Panel().cell_height(shape.TableCellHeight.SM)
    if sort:
        builder.sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
    panel = finished(builder, title, description, queries)
    if all_good and panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.no_value = all_good
    panel.transformations = _shaped(columns, len(queries))
    for column in columns:
        _dressed(panel, column)
    return panel


def _shaped(columns: Sequence[Column], queries: int) -> list[model.DataTransformerConfig]:
    """Joins rows of several queries by their labels; then selects, orders and names the columns."""
    steps: list[tuple[str, object]] = [("merge", {})] if queries > 1 else []
    steps += [("calculateField", _calculated(column)) for column in columns if column.computed]
    steps.append(("filterFieldsByName", {"include": {"names": [column.of for column in columns]}}))
    steps.append(
        (
            "organize",
            {
                "indexByName": {column.of: place for place, column in enumerate(columns)},
                "renameByName": {column.of: column.name for column in columns},
                "excludeByName": {},
            },
        )
    )
    return [model.DataTransformerConfig(id_val=name, options=options) for name, options in steps]


def _calculated(column: Column) -> dict[str, object]:
    left, operator, right = column.computed or ("", "", "")
    return {
        "mode": "binary",
        "binary": {"left": left, "operator": operator, "right": right},
        "alias": column.of,
        "replaceFields": False,
    }


def _dressed(panel: model.Panel, column: Column) -> None:
    settings: dict[str, object] = {
        "unit": column.unit,
        "decimals": column.decimals,
        "custom__width": column.width,
        "custom__minWidth": None if column.width else 80,  # columns share the rest; Grafana's 150 would not fit
        "custom__hidden": column.hidden or None,
        "links": list(column.links) or None,
        "mappings": _mappings(column) or None,
        "thresholds": thresholds(column.steps).build() if column.steps else None,
        "color": model.FieldColor(mode=model.FieldColorModeId.THRESHOLDS) if column.steps else None,
        "custom__cellOptions": _cell(column),
        # Otherwise an empty cell would show the text of an empty table.
        "noValue": " " if column.links else "-",
        "min": 0 if column.bar else None,
        "max": column.full,
    }
    if given := {name: value for name, value in settings.items() if value is not None}:
        changed(panel, column.name, **given)


def _mappings(column: Column) -> list[model.ValueMapping]:
    if column.computed:  # nothing divided by nothing
        return [nan_as("-")]
    return [words(column.texts)] if column.texts else []


def _cell(column: Column) -> object:
    if column.bar:
        return shape.TableBarGaugeCellOptions(
            mode=shape.BarGaugeDisplayMode.BASIC, value_display_mode=shape.BarGaugeValueMode.TEXT
        )
    return shape.TableColorTextCellOptions() if column.steps or column.texts else None
