"""The alarms and the dashboard of an installation in an AWS account: reads them, and carries out a plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from prefect_monitoring.flows.aws import cause, make_client
from prefect_monitoring.sinks.aws_errors import reason_of
from prefect_monitoring.sinks.cloudwatch.native.definition import Installation
from prefect_monitoring.sinks.cloudwatch.native.difference import Alarm, Plan

_BATCH: Final = 100  # names that one request may delete
_NO_SUCH: Final = frozenset({"ResourceNotFound", "ResourceNotFoundException", "DashboardNotFoundError"})


class AccountError(Exception):
    """CloudWatch could not be reached, or refused. The message holds no account id."""


class NotOursError(AccountError):
    """Something that this installation did not make has a name that it needs."""


class Account:
    """CloudWatch in the account and region that boto3 finds. Every method raises AccountError."""

    def __init__(self) -> None:
        with _explained("connect"):
            self._client: Any = make_client("cloudwatch")

    @property
    def region(self) -> str:
        return str(self._client.meta.region_name)

    def alarms(self, installation: Installation) -> list[Alarm]:
        """The installation's alarms, by their names and tags. A name alone is not enough: people copy alarms."""
        with _explained("read alarms"):
            pages = self._client.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=installation.prefix, AlarmTypes=["MetricAlarm"]
            )
            found = [alarm for page in pages for alarm in page["MetricAlarms"]]
            return [
                Alarm(alarm["AlarmName"], alarm["ActionsEnabled"], alarm)
                for alarm in found
                if installation.tags.items() <= self._tags(alarm["AlarmArn"]).items()
            ]

    def dashboard(self, installation: Installation) -> Mapping[str, Any] | None:
        """The installation's dashboard; None without one that carries its mark."""
        body = self._dashboard_body(installation)
        if body is None or not installation.owns_dashboard(body):
            return None
        content: Mapping[str, Any] = json.loads(body)
        return content

    def refuse_strangers(self, installation: Installation, plan: Plan) -> None:
        """Raises NotOursError if something to be created exists: writing it would overwrite somebody else's."""
        names = [definition["AlarmName"] for definition in plan.create]
        taken: list[str] = []
        with _explained("read alarms"):
            for start in range(0, len(names), _BATCH):
                answer = self._client.describe_alarms(AlarmNames=names[start : start + _BATCH])
                alarms = (*answer["MetricAlarms"], *answer["CompositeAlarms"])
                taken += [f"alarm {alarm['AlarmName']}" for alarm in alarms]
        if plan.dashboard is not None:
            body = self._dashboard_body(installation)
            if body is not None and not installation.owns_dashboard(body):
                taken.append(f"dashboard {installation.dashboard_name}")
        if taken:
            raise NotOursError(
                f"not made by this installation, but with a name that it needs: {', '.join(taken)}: rename or"
                " delete what exists, or choose another --installation"
            )

    def carry_out(self, plan: Plan, installation: Installation, report: Callable[[str], object]) -> None:
        """Raises AccountError at the first write that fails; the next plan has the remaining changes."""
        tags = [{"Key": key, "Value": value} for key, value in installation.tags.items()]
        for change in plan.change:
            with _explained(f"change {change.existing.name}"):
                self._client.put_metric_alarm(**change.definition, ActionsEnabled=change.existing.enabled)
            report(f"changed {change.existing.name}")
        for definition in plan.create:
            with _explained(f"create {definition['AlarmName']}"):
                self._client.put_metric_alarm(**definition, ActionsEnabled=True, Tags=tags)
            report(f"created {definition['AlarmName']}")
        names = [alarm.name for alarm in plan.destroy]
        for start in range(0, len(names), _BATCH):
            with _explained("destroy alarms"):
                self._client.delete_alarms(AlarmNames=names[start : start + _BATCH])
            for name in names[start : start + _BATCH]:
                report(f"destroyed {name}")
        self._carry_out_dashboard(plan, installation.dashboard_name, report)

    def _carry_out_dashboard(self, plan: Plan, name: str, report: Callable[[str], object]) -> None:
        if plan.dashboard is not None:
            with _explained(f"write the dashboard {name}"):
                self._client.put_dashboard(DashboardName=name, DashboardBody=json.dumps(plan.dashboard))
            report(f"wrote dashboard {name}")
        if plan.destroys_dashboard:
            with _explained(f"destroy the dashboard {name}"):
                self._client.delete_dashboards(DashboardNames=[name])
            report(f"destroyed dashboard {name}")

    def _dashboard_body(self, installation: Installation) -> str | None:
        with _explained("read the dashboard"):
            try:
                answer = self._client.get_dashboard(DashboardName=installation.dashboard_name)
            except self._client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in _NO_SUCH:
                    return None
                raise
            return str(answer["DashboardBody"])

    def _tags(self, arn: str) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self._client.list_tags_for_resource(ResourceARN=arn)["Tags"]}


@contextmanager
def _explained(task: str) -> Iterator[None]:
    """Turns boto3's errors into an AccountError that says what could not be done."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 any error of boto3, the network or AWS
        raise AccountError(f"CloudWatch: cannot {task}: {reason_of(error)}: {cause(error)}") from None
