"""Two more workspaces of the bad month: in one the exporter acts and archives, in the other it has a replica."""

from __future__ import annotations

from typing import Final

from months.pipelines import FOREVER, Behaviour, Phase, Pipeline
from months.schedules import HOUR, MINUTE, Every, on
from months.site import Process, Site
from months.troubles import Trouble

STORM: Final = ("storm-a", "storm-b", "storm-c", "storm-d", "storm-e")
FAILS: Final = Behaviour("FAILED", message="boom")
REFUSED: Final = Behaviour("FAILED", message="ConnectionRefusedError: [Errno 111] Connection refused")
BORN: Final = on(9)

_PIPELINES: Final = (
    # Half a minute apart, so that a step sees one after the other recover.
    *(Pipeline(flow, "hourly", Every(HOUR, 30 * k), 60, since=BORN) for k, flow in enumerate(STORM)),
    Pipeline("fan-out", "customers", Every(HOUR, 10 * MINUTE), 120, parallel=4, since=BORN),
    Pipeline("retried", "hourly", Every(HOUR, 15 * MINUTE), 60, since=BORN),
    Pipeline("flaky", "hourly", Every(HOUR, 20 * MINUTE), 60, since=BORN),
    Pipeline("upstream", "hourly", Every(HOUR, 25 * MINUTE), 60, since=BORN),
    Pipeline("downstream", "hourly", Every(HOUR, 50 * MINUTE), 60, since=BORN),
    Pipeline("beating", "hourly", Every(HOUR, 30 * MINUTE), 200, since=BORN),
    Pipeline("lake", "often", Every(4 * HOUR, 35 * MINUTE), 60, asset="s3://lake/orders", since=BORN),
)

_DECLARED: Final = """
defaults: {slo: {grace: 3h, min_success_ratio: 50%}}
pipelines:
  - {flow: storm-a|beating, criticality: critical}
  - {flow: retried, retry: {max: 2, delay: 1m}}
  - {flow: flaky, criticality: low, retry: {max: 5, delay: 1m}}
  - {flow: upstream, on_failure: {pause: [downstream/hourly], resume_on_success: true}}
"""

_SPELLS: Final = (
    *(Phase(flow, on(11, 5), on(11, 6), REFUSED) for flow in STORM),
    # Of the runs of four customers, one fails for good; the other three complete right after it.
    Phase("fan-out", on(11, 6), on(11, 7), Behaviour("FAILED", seconds=60, message="boom"), every=4),
    Phase("flaky", on(11, 8), on(11, 9), FAILS),
    # A retry of the exporter saves the first of these, and cannot save the second; the third is not retried.
    Phase("retried", on(11, 11), on(11, 12), Behaviour("FAILED", message="boom", after_retry="COMPLETED")),
    Phase("retried", on(11, 13), on(11, 14), FAILS),
    Phase("retried", on(11, 16), on(11, 17), FAILS),
    Phase("upstream", on(11, 18), on(11, 19), FAILS),
    # Its process dies after ten minutes; somebody cancels it a quarter of an hour later.
    Phase("beating", on(11, 21), on(11, 22), Behaviour("CANCELLED", seconds=25 * MINUTE, beats=10 * MINUTE)),
    Phase("lake", on(12), on(12, 4), Behaviour(reports=None)),
)

_TROUBLES: Final = (
    Trouble("write forbidden", on(11, 16), on(11, 17)),
    Trouble("automation fails", on(12, 10), on(12, 11), "page the lake's owners"),
    Trouble("sink fails", on(12, 12), on(12, 13), "unreachable"),
    Trouble("sink fails", on(12, 15), on(12, 17), "refused"),
    Trouble("archive stuck", on(11, 20), on(12, 18)),
    Trouble("run not archived", on(11, 12), on(13), "one"),
    Trouble("run unreadable", on(13, 2), on(13, 6), "lake"),
)

ACTING: Final = Site(
    "acting",
    _PIPELINES,
    _DECLARED,
    (Process("10.0.1.1:9877", "a", on(10, 12), FOREVER),),
    _SPELLS,
    _TROUBLES,
    options={
        "act": True,
        "act_max_per_hour": 3,
        "assets": [{"asset": "s3://lake/orders", "max_staleness": "6h"}],
    },
    sink="cloudwatch",
    has_archive=True,
)

REPLICATED: Final = Site(
    "replicated",
    (Pipeline("payroll", "often", Every(20 * MINUTE), 60, since=on(11)),),
    "pipelines: [{flow: payroll, criticality: critical}]",
    (
        Process("10.0.2.1:9877", "a", on(11, 1), FOREVER),
        # Cut off while a run has failed, of which it never hears that the next one completes; and one day, it is down.
        Process("10.0.2.2:9877", "b", on(11, 1), on(12, 20), cut_off=(on(11, 12) + 5 * MINUTE, on(11, 18))),
        Process("10.0.2.2:9877", "b", on(12, 21), FOREVER),
    ),
    (Phase("payroll", on(11, 12), on(11, 12.2), FAILS),),
)

SITES: Final = (ACTING, REPLICATED)
