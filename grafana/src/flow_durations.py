"""How long one flow's runs take: now, usually, against its limit, against other weeks and days."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import clock
from grafana.src.colours import BAD, CALM, DATA, GOOD, WATCH, steps
from grafana.src.fields import changed, coloured, in_colour, told_apart
from grafana.src.panels import categories, lines, now, over_time, stats
from grafana.src.promql import HOURS, at_end, grown, lately, merged, of_pipelines, total
from grafana.src.tables import rows

_DURATION: Final = "prefect_flow_run_duration_seconds"
_SECONDS: Final = f"{_DURATION}_sum"
_RUNS: Final = f"{_DURATION}_count"
_DASHED: Final = {"fill": "dash", "dash": [6, 6]}
_SLOWER: Final = steps(GOOD, (0.25, WATCH), (1.0, BAD), low=-1.0)


def _baseline(window: str) -> str:
    baseline = of_pipelines("prefect_flow_run_duration_baseline_seconds", f'window="{window}"')
    return f"avg({merged(lately(baseline))})"


def _mean(*by: str, window: str, at: str = "") -> str:
    """For the runs that completed in a window; at: its end, as an offset."""
    seconds, runs = (total(grown(metric, window=window, at=at), *by) for metric in (_SECONDS, _RUNS))
    return f"{seconds} / ({runs} > 0)"


_THIS_WEEK: Final = _mean(window="7d")
_LAST_WEEK: Final = _mean(window="7d", at=" offset 7d")


def means() -> model.Panel:
    windows = (("1d", "24 h"), ("7d", "7 days"), ("30d", "30 days"), ("30d_before", "30 before"))
    return stats(
        "Median duration",
        "Of completed runs, from the ledger; of several deployments the mean of their medians. Growing from window to "
        "window: Bottlenecks shows which task grew.",
        *(now(_baseline(window), name) for window, name in windows),
        unit="s",
        decimals=1,
    )


def changes() -> model.Panel:
    return stats(
        "Change of duration",
        "By how much runs take longer (+) or shorter (-): the mean of the last seven days against the seven before, "
        "and the median of 30 days against the 30 before. A quarter more is worth a look, double is a fault to come.",
        now(f"({_THIS_WEEK}) / ({_LAST_WEEK}) - 1", "week over week"),
        now(f"{_baseline('30d')} / ({_baseline('30d_before')} > 0) - 1", "month over month"),
        unit="percentunit",
        decimals=0,
        steps=_SLOWER,
    )


def _quantile(metric: str, share: str) -> str:
    """For the runs of a rolling week of each deployment; exact, from the ledger."""
    return merged(lately(of_pipelines(f"{metric}_quantile_seconds", 'window="7d"', f'quantile="{share}"')))


def trend() -> model.Panel:
    limit = f"max by (flow, deployment) ({at_end(of_pipelines('prefect_slo_max_duration_seconds'))})"
    usual = at_end(of_pipelines("prefect_flow_run_duration_baseline_seconds", 'window="30d"'))
    slowest = at_end(of_pipelines("prefect_flow_run_duration_quantile_seconds", 'window="7d"', 'quantile="0.95"'))
    panel = lines(
        "Duration",
        "Mean of the runs that completed within a step, against the median of 30 days, the 95th percentile of a week's "
        "runs (not part of a backfill), and the declared limit. Creeping up: fix it before it meets the limit. A "
        "single spike: see what else ran then.",
        over_time(_mean("flow", "deployment", window="$__interval", at=" offset -$__interval"), "{{deployment}}"),
        over_time(f"max by (flow, deployment) ({usual})", "median, 30 d {{deployment}}"),
        over_time(limit, "limit {{deployment}}"),
        over_time(f"max by (flow, deployment) ({slowest})", "p95, 7 d {{deployment}}"),
        unit="s",
        step=HOURS,
        bridge=True,
    )
    told_apart(panel)
    changed(panel, "/^p95.*/", color={"mode": "fixed", "fixedColor": WATCH}, custom__lineWidth=1)
    changed(panel, "/^median.*/", color={"mode": "fixed", "fixedColor": CALM}, custom__lineWidth=1)
    return changed(panel, "/^limit.*/", color={"mode": "fixed", "fixedColor": BAD}, custom__lineStyle=_DASHED)


def quantiles() -> model.Panel:
    return stats(
        "Duration, 7 days",
        "Half and 95 % of the completed runs took at most so long; of several deployments the slowest. Far apart: some "
        "runs meet something that others do not, a lock, a large file, a slow machine.",
        now(f"max({_quantile('prefect_flow_run_duration', '0.5')})", "p50"),
        now(f"max({_quantile('prefect_flow_run_duration', '0.95')})", "p95"),
        unit="s",
        decimals=1,
    )


def start_delays() -> model.Panel:
    return stats(
        "Start delay, 7 days",
        "From the expected start to the start, of half and of 95 % of the runs; of several deployments the latest. "
        "Retries do not count. Minutes: workers are busy, gone, or wait for machines; see Workers and queues.",
        now(f"max({_quantile('prefect_flow_run_start_delay', '0.5')})", "p50"),
        now(f"max({_quantile('prefect_flow_run_start_delay', '0.95')})", "p95"),
        unit="s",
        decimals=1,
        steps=steps(GOOD, (60.0, WATCH), (300.0, BAD)),
    )


def weeks() -> model.Panel:
    panel = lines(
        "This week and last week",
        "Mean duration over a rolling day, and the same seven days before. A gap that stays open: something changed "
        "for good this week; see what was deployed, and how much data came.",
        over_time(_mean(window="1d"), "this week"),
        over_time(_mean(window="1d", at=" offset 7d"), "last week"),
        unit="s",
        step=HOURS,
        last="7d",
        bridge=True,
    )
    coloured(panel, {"this week": DATA, "last week": CALM})
    return changed(panel, "last week", custom__lineStyle=_DASHED)


def weekdays() -> model.Panel:
    seconds, runs = (clock.by_weekday(grown(metric, window="1d")) for metric in (_SECONDS, _RUNS))
    panel = categories(
        "By weekday and month end (UTC)",
        "Mean duration of four weeks. One day far above the others: look at what it carries, such as weekly reports "
        "or the month's closing, and give it a separate limit or another hour.",
        rows(f"{seconds} / ({runs} > 0)"),
        label=clock.PART,
        texts=clock.DAYS_AND_MONTH_END,
        unit="s",
    )
    return in_colour(panel, DATA)
