"""The exporter's actions and whether they are allowed, and failed actions of Prefect's own automations."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import common as shape
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import stat

from grafana.src import variables
from grafana.src.colours import (
    ANY_IS_BAD,
    ANY_IS_WATCHED,
    BAD,
    CALM,
    COUNT_IS_BAD,
    COUNT_IS_WATCHED,
    DATA,
    GOOD,
    NO_JUDGEMENT,
    PLAIN,
    WATCH,
    Steps,
    steps,
)
from grafana.src.fields import coloured, mapped, when_empty, with_room
from grafana.src.layout import band, board
from grafana.src.links import to_runbook, to_upstream_flow
from grafana.src.panels import columns, history, now, over_time, stats
from grafana.src.promql import (
    BY_PIPELINE,
    HOURS,
    bars,
    chosen,
    known,
    lately,
    merged,
    named,
    newest,
    of_pipelines,
    of_workspaces,
    or_zero,
    total,
)
from grafana.src.tables import DEPLOYMENT, FLOW, PIPELINE, VALUE, WORKSPACE, Column, rows, table

ACTIONS: Final = "prefect_exporter_actions_total"
OWN_FAILED: Final = "prefect_automation_actions_failed_total"
PAUSED: Final = "prefect_exporter_downstream_paused_timestamp_seconds"
ACTING: Final = {
    "0": ("not acting", CALM),
    "1": ("acting", GOOD),
    "2": ("stopped by a person", WATCH),
    "3": ("fuse blown", BAD),
    "4": ("starting", CALM),
    "5": ("unknown", CALM),
}
RESULTS: Final = {
    "done": GOOD,
    "dry_run": DATA,
    "refused": CALM,
    "failed": BAD,
    "exhausted": WATCH,
    "fuse": PLAIN,
}
ALERTS: Final = (
    "PrefectActionsStopped",
    "PrefectRetriesExhausted",
    "PrefectActionFailed",
    "PrefectDownstreamPaused",
    "PrefectAutomationActionFailed",
)
USED: Final = steps(GOOD, (0.5, WATCH), (1.0, BAD))
RESUMED: Final = {"on_success": ("on the next success", PLAIN), "by_hand": ("by hand", WATCH)}


def _acting() -> str:
    """One of ACTING for each workspace; without a value while the API is down."""
    up, acting = newest("prefect_up"), newest("prefect_exporter_acting")
    stopped = "prefect_exporter_actions_stopped_info"
    return "\nor on (workspace) ".join(
        (
            f"5 * ({up} == bool 0) > 0",
            "3 * " + newest(stopped, 'stopped_by="fuse"'),
            "2 * " + newest(stopped, 'stopped_by="person"'),
            f"{acting} == 1",
            f"4 + {acting}",
            f"0 * {up}",
        )
    )


def _state() -> model.Panel:
    panel = stats(
        "Acting",
        "Whether the exporter acts on Prefect. Not acting: it runs without --act, or with --dry-run. Fuse blown: too "
        "many actions within an hour; the runbook of PrefectActionsStopped says how it closes. Unknown: Prefect's API "
        "or the exporter does not answer, and nothing is done meanwhile.",
        now(_acting(), "{{workspace}}"),
    )
    if isinstance(panel.options, stat.Options):
        panel.options.text_mode = shape.BigValueTextMode.AUTO  # names the workspaces if there are several
    return when_empty(mapped(panel, ACTING), "unknown")


def _count(title: str, description: str, result: str, steps: Steps) -> model.Panel:
    counted = total(chosen(known(ACTIONS, f'result="{result}"')))
    return stats(title, description, now(or_zero(counted)), decimals=0, steps=steps)


def _paused_count() -> model.Panel:
    return stats(
        "Kept paused",
        "Deployments that the exporter paused because what they read failed, and that it still keeps paused. The "
        "table below says since when, why, and who resumes them.",
        now(or_zero(f"count({chosen(merged(of_pipelines(PAUSED)))})")),
        steps=COUNT_IS_WATCHED,
    )


def _own_count() -> model.Panel:
    level = f"max by (workspace, automation) ({lately(of_workspaces(OWN_FAILED))})"
    before = f"max by (workspace, automation) (last_over_time({of_workspaces(OWN_FAILED)}[5m] offset $__range))"
    return stats(
        "Native failed",
        "Actions of Prefect's own automations that failed within the range, such as messages that were not sent. "
        "Prefect does not repeat them; the panel below names the automation.",
        now(or_zero(f"sum(clamp_min({level} - {before}, 0) or {level})")),
        decimals=0,
        steps=COUNT_IS_BAD,
    )


def _by_result() -> model.Panel:
    panel = columns(
        "Actions by result",
        "What the exporter did, or decided not to do. Refused: the run or the deployment had changed, which is as it "
        "should be. Exhausted: a run failed after its last retry. Fuse: withheld. Dry run: only shown.",
        over_time(total(chosen(bars(ACTIONS)), "result"), "{{result}}"),
        step=HOURS,
    )
    return coloured(panel, RESULTS)


def _acting_over_time() -> model.Panel:
    return history(
        "Acting over time",
        "When actions were allowed, and when they were not. A gap: the exporter was not there. What failed before "
        "acting was first enabled is never retried; after a gap, only what is young enough.",
        over_time(_acting(), "acting {{workspace}}"),
        texts=ACTING,
        step="1m",
        bridge=False,
    )


def _by_pipeline() -> model.Panel:
    by = f"{BY_PIPELINE}, action"
    happened = f"({total(chosen(known(ACTIONS)), by=by)} > 0)"

    def counted(result: str) -> str:
        level = known(ACTIONS, f'result="{result}"')
        return f"max by ({by}) ({level} and on ({by}) {happened})"

    return table(
        "Actions by pipeline",
        "What was done within the range for each pipeline whose rule asks for it. Failed: `prefect-monitoring actions` "
        "has the reason. Exhausted again and again: the retries do not cure the cause; see not_causes. Withheld: by "
        "the fuse.",
        *(rows(counted(result)) for result in ("done", "refused", "failed", "exhausted", "fuse", "dry_run")),
        columns=(
            WORKSPACE,
            FLOW,
            DEPLOYMENT,
            Column("action", "Action", width=105),
            Column("Value #A", "Done", width=75, decimals=0),
            Column("Value #B", "Refused", width=85, decimals=0),
            Column("Value #C", "Failed", width=75, decimals=0, steps=ANY_IS_BAD),
            Column("Value #D", "Exhausted", width=100, decimals=0, steps=ANY_IS_WATCHED),
            Column("Value #E", "Withheld", width=95, decimals=0, steps=ANY_IS_WATCHED),
            Column("Value #F", "Dry run", width=85, decimals=0),
        ),
        sort="Done",
        all_good="No action within the range is known.",
    )


def _retries() -> model.Panel:
    used = merged(lately(of_pipelines("prefect_flow_run_last_failure_retries")))
    allowed = f"({merged(lately(of_pipelines('prefect_pipeline_retries_max')))} and on ({BY_PIPELINE}) {used})"
    return table(
        "Retries of the last failed run",
        "Pipelines with a retry rule whose last run failed and that have not completed since. A full bar: its retries "
        "are used, and an alert fires. 0: it was not to be retried, for its cause, say.",
        rows(named(chosen(f"({used})"))),
        rows(named(chosen(allowed))),
        rows(named(chosen(f"({used} / on ({BY_PIPELINE}) ({allowed} > 0))"))),
        columns=(
            *PIPELINE,
            Column("Value #A", "Retries", width=80, decimals=0),
            Column("Value #B", "Allowed", width=85, decimals=0),
            Column("Value #C", "Used", unit="percentunit", width=130, decimals=0, steps=USED, bar=True, full=1),
        ),
        sort="Used",
        all_good="No failed run with a retry rule is known.",
    )


def _paused() -> model.Panel:
    labels = ("upstream_flow", "upstream_deployment", "resume")
    since = chosen(merged(of_pipelines(PAUSED), *labels))
    paused = named(f"(1000 * {since})")
    upstream = f'label_join({paused}, "upstream", "/", "upstream_flow", "upstream_deployment")'
    return table(
        "Downstream kept paused",
        "Deployments that the exporter paused because the upstream pipeline failed. Fix and retry the upstream; to "
        "resume at once, use the switch on the deployment's page in Prefect: what is done by hand wins.",
        rows(f'label_replace({upstream}, "upstream", "$1", "upstream", "(.*)/")'),
        columns=(
            *PIPELINE,
            Column(VALUE, "Since", unit="dateTimeFromNow", width=120),
            Column("upstream", "Because of", links=(to_upstream_flow(),)),
            Column("resume", "Resumed", width=160, texts=RESUMED),
            Column("upstream_flow", "upstream flow", hidden=True),
            Column("upstream_deployment", "upstream deployment", hidden=True),
        ),
        sort="Since",
        all_good="The exporter keeps nothing paused.",
    )


def _own_failed() -> model.Panel:
    grown = f"increase({of_workspaces(OWN_FAILED)}[$__interval] offset -$__interval)"
    panel = columns(
        "Failed actions of Prefect's own automations",
        "By the automation's name: messages that were not sent, deployments that could not be paused. Its "
        "event feed in Prefect has the reason: a block that is gone, a webhook that refuses.",
        over_time(total(f"max by (workspace, automation) ({grown})", "automation"), "{{automation}}"),
        step=HOURS,
    )
    return with_room(panel, 3)


def _alerts() -> model.Panel:
    links = f"max by (runbook_url) ({lately(of_workspaces('prefect_exporter_links_info'))})"
    listed = "\nor ".join(f'label_replace(0 * {links}, "alertname", "{alert}", "", "")' for alert in ALERTS)
    which = "|".join(ALERTS)
    firing = of_workspaces("ALERTS", 'alertstate="firing"', f'alertname=~"{which}"')
    counted = f"(({listed}) + on (alertname) group_left () count by (alertname) ({firing}) or {listed})"
    return table(
        "Alerts and runbooks",
        "What the alerts about actions say now, and what to do about each. The links need the exporter's option "
        "runbook_url; without it, see docs/runbooks.",
        rows(f'label_replace({counted}, "runbook", "open", "runbook_url", ".+")'),
        columns=(
            Column("alertname", "Alert"),
            Column(VALUE, "Firing", width=90, decimals=0, steps=COUNT_IS_WATCHED),
            Column("runbook", "Runbook", width=110, links=(to_runbook(),)),
            Column("runbook_url", "url", hidden=True),
        ),
        sort="Firing",
    )


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-automations",
        title="Automations",
        description="What is done to Prefect, by the exporter and by Prefect's own automations, and what failed.",
        variables=variables.of_all_pipelines(),
        since="now-24h",
        bands=[
            band(
                4,
                (_state(), 4),
                (
                    _count(
                        "Actions done",
                        "Retries, pauses, resumes, changed limits and skips that Prefect carried out within the range.",
                        "done",
                        NO_JUDGEMENT,
                    ),
                    4,
                ),
                (
                    _count(
                        "Actions failed",
                        "Within the range: Prefect refused the request, or did not answer for minutes. Above 0: see "
                        "the pipeline below, and the runbook of PrefectActionFailed.",
                        "failed",
                        COUNT_IS_BAD,
                    ),
                    4,
                ),
                (
                    _count(
                        "Exhausted",
                        "Runs that failed within the range after the last retry that their rule allows. An alert "
                        "fired; the table of retries says whether a later run completed.",
                        "exhausted",
                        COUNT_IS_WATCHED,
                    ),
                    4,
                ),
                (_paused_count(), 4),
                (_own_count(), 4),
            ),
            band(8, (_by_result(), 14), (_acting_over_time(), 10)),
            band(8, (_by_pipeline(), 24)),
            band(6, (_retries(), 24), heading="In force now"),
            band(6, (_paused(), 24)),
            band(7, (_own_failed(), 14), (_alerts(), 10), heading="Prefect's own automations, and alerts"),
        ],
    )
