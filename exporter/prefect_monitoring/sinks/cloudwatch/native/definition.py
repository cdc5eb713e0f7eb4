"""An alarm and a dashboard as CloudWatch's JSON, and how those of one installation are recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.model.pushed_metrics import PushedName
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.sinks.cloudwatch.metrics import dimensions_of

TAG: Final = "prefect-monitoring"
_LONGEST_NAME: Final = 255
_WIDTH: Final = 24  # columns of a dashboard
_MANAGED: Final = (
    "Managed by prefect-monitoring, installation {installation}: the next `prefect-monitoring cloudwatch apply` undoes"
    " edits."
)
_ACTIONS_OFF: Final = " You may switch its actions off: they stay off."


@dataclass(frozen=True, slots=True)
class Rule:
    """One alarm: `statistic` of a metric over `period` seconds compared with `threshold`, `periods` times in a row.

    `title` identifies it within an installation. `pipeline` has no flow if the metric is the installation's.
    `missing` is what a period without data means: CloudWatch's breaching, notBreaching or ignore.
    """

    title: str
    description: str
    pipeline: Pipeline
    metric: str
    statistic: str
    comparison: str
    threshold: float
    missing: str
    period: int = 60
    periods: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric of several pipelines; `stat` as CloudWatch writes it, `per` seconds a point."""

    title: str
    metric: PushedName
    stat: str
    per: int = 300
    is_stacked: bool = False


@dataclass(frozen=True, slots=True)
class Installation:
    """The owner of alarms and a dashboard; `name` keeps two installations in one account and region apart."""

    name: str
    namespace: str
    actions: tuple[str, ...] = ()

    @property
    def tags(self) -> Mapping[str, str]:
        return {TAG: self.name}

    @property
    def prefix(self) -> str:
        return f"{TAG} {self.name}: "

    @property
    def dashboard_name(self) -> str:
        return f"{TAG}-{self.name}"

    @property
    def mark(self) -> str:
        """The text that marks a dashboard as this installation's: it cannot have tags."""
        return _MANAGED.format(installation=self.name)

    def alarm(self, rule: Rule) -> dict[str, Any]:
        """The parameters of an alarm, without those that only a new one has: its tags, and that its actions are on."""
        dimensions = dimensions_of(rule.pipeline, self.name)
        return {
            "AlarmName": self._alarm_name(rule.title),
            "AlarmDescription": f"{rule.description}\n\n{self.mark}{_ACTIONS_OFF}",
            "Namespace": self.namespace,
            "MetricName": rule.metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in sorted(dimensions.items())],
            "Statistic": rule.statistic,
            "Period": rule.period,
            "EvaluationPeriods": rule.periods,
            "DatapointsToAlarm": rule.periods,
            "Threshold": rule.threshold,
            "ComparisonOperator": rule.comparison,
            "TreatMissingData": rule.missing,
            "AlarmActions": list(self.actions),
            "OKActions": list(self.actions),
        }

    def _alarm_name(self, title: str) -> str:
        """Cuts names that are too long, and keeps them different."""
        name = f"{self.prefix}{title}"
        if len(name) <= _LONGEST_NAME:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        return f"{name[: _LONGEST_NAME - len(digest) - 1]} {digest}"

    def dashboard(self, charts: Sequence[Chart], pipelines: Sequence[Pipeline], region: str) -> dict[str, Any]:
        """The body of a dashboard with two charts a row."""
        heading = {"type": "text", "x": 0, "y": 0, "width": _WIDTH, "height": 2}
        heading["properties"] = {"markdown": f"# Data pipelines, {self.name}\n{self.mark}"}
        half, height = _WIDTH // 2, 6
        widgets = [heading]
        for number, chart in enumerate(charts):
            place = {"x": number % 2 * half, "y": 2 + number // 2 * height, "width": half, "height": height}
            widgets.append({"type": "metric", **place, "properties": self._chart(chart, pipelines, region)})
        return {"widgets": widgets}

    def _chart(self, chart: Chart, pipelines: Sequence[Pipeline], region: str) -> dict[str, Any]:
        return {
            "title": chart.title,
            "region": region,
            "view": "timeSeries",
            "stacked": chart.is_stacked,
            "stat": chart.stat,
            "period": chart.per,
            "metrics": [self._series(chart.metric, pipeline) for pipeline in pipelines],
        }

    def _series(self, metric: str, pipeline: Pipeline) -> list[Any]:
        dimensions = [part for item in sorted(dimensions_of(pipeline, self.name).items()) for part in item]
        return [self.namespace, metric, *dimensions, {"label": "/".join(filter(None, pipeline))}]

    def owns_dashboard(self, body: str) -> bool:
        """Whether the body of a dashboard carries this installation's mark."""
        try:
            return self.mark in json.dumps(json.loads(body), ensure_ascii=False)
        except ValueError:
            return False
