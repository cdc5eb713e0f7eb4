"""Field settings of finished panels: colours, texts for values, links, and overrides for single fields."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model

from grafana.src.colours import CALM, STATES, Steps, thresholds


def changed(panel: model.Panel, name: str, **properties: object) -> model.Panel:
    """Other settings for one field; `custom__x` is custom.x. Name: a legend, a column, or /a regex/."""
    return _changed(panel, "byRegexp" if name.startswith("/") else "byName", name, properties)


def of_query(panel: model.Panel, ref: str, colour: str) -> model.Panel:
    """The colour of one query's series, independent of legends."""
    return _changed(panel, "byFrameRefID", ref, {"color": {"mode": "fixed", "fixedColor": colour}})


def _changed(panel: model.Panel, how: str, name: str, properties: Mapping[str, object]) -> model.Panel:
    if panel.field_config is None:
        raise ValueError(f"{panel.title} has no fields")
    values = [model.DynamicConfigValue(id_val=key.replace("__", "."), value=value) for key, value in properties.items()]
    panel.field_config.overrides = [
        *(panel.field_config.overrides or []),
        model.DashboardFieldConfigSourceOverrides(
            matcher=model.MatcherConfig(id_val=how, options=name), properties=values
        ),
    ]
    return panel


def coloured(panel: model.Panel, colours: Mapping[str, str]) -> model.Panel:
    """A colour for each legend, so that the same thing has the same colour everywhere."""
    for name, colour in colours.items():
        changed(panel, name, color={"mode": "fixed", "fixedColor": colour})
    return panel


def coloured_by_state(panel: model.Panel) -> model.Panel:
    """States that have no colour assigned are waits of some kind."""
    return coloured(in_colour(panel, CALM), STATES)


def in_colour(panel: model.Panel, colour: str) -> model.Panel:
    """One colour for the whole panel."""
    if panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.color = model.FieldColor(mode=model.FieldColorModeId.FIXED, fixed_color=colour)
    return panel


def told_apart(panel: model.Panel) -> model.Panel:
    """Colours by name for series that differ only in name, such as deployments."""
    if panel.field_config and panel.field_config.defaults:
        mode = model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME
        panel.field_config.defaults.color = model.FieldColor(mode=mode)
    return panel


def mapped(panel: model.Panel, texts: Mapping[str, tuple[str, str]]) -> model.Panel:
    """Values shown as words: {"1": ("completed", colour)}."""
    if panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.mappings = [words(texts)]
    return panel


def words(texts: Mapping[str, tuple[str, str]]) -> model.ValueMap:
    return model.ValueMap(
        {
            value: model.ValueMappingResult(text=said, color=colour or None, index=place)
            for place, (value, (said, colour)) in enumerate(texts.items())
        }
    )


def nan_as(text: str) -> model.SpecialValueMap:
    return model.SpecialValueMap(
        options=model.DashboardSpecialValueMapOptions(
            match=model.SpecialValueMatch.NULL_AND_NAN, result=model.ValueMappingResult(text=text)
        )
    )


def linked(panel: model.Panel, *links: model.DashboardLink) -> model.Panel:
    """Where a click on a value leads."""
    if panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.links = list(links)
    return panel


def judged(panel: model.Panel, name: str, steps: Steps) -> model.Panel:
    """Thresholds of one field."""
    return changed(panel, name, thresholds=thresholds(steps).build(), color={"mode": "thresholds"})


def when_empty(panel: model.Panel, text: str) -> model.Panel:
    """The text for a panel without data when that is not a fault."""
    if panel.field_config and panel.field_config.defaults:
        panel.field_config.defaults.no_value = text
    return panel


def with_room(panel: model.Panel, top: float) -> model.Panel:
    """The axis reaches at least this value: a curve of only zeros would get one up to 100."""
    if (
        panel.field_config
        and panel.field_config.defaults
        and isinstance(panel.field_config.defaults.custom, shape.GraphFieldConfig)
    ):
        panel.field_config.defaults.custom.axis_soft_max = top
    return panel


def with_steps_drawn(panel: model.Panel) -> model.Panel:
    """The steps as dashed lines across the curves."""
    if panel.field_config and panel.field_config.defaults:
        settings = panel.field_config.defaults.custom
        if isinstance(settings, shape.GraphFieldConfig):
            dashed = shape.GraphThresholdsStyleMode.DASHED
            settings.thresholds_style = shape.GraphThresholdsStyleConfig(mode=dashed)
    return panel
