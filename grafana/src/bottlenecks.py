"""Where the time goes: which tasks to fix first, which got slower, and which the cache saves."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import tasks, variables
from grafana.src.colours import BAD, CACHED, CALM, COUNT_IS_WATCHED, DATA, GOOD, PLAIN, WATCH, steps
from grafana.src.fields import coloured, in_colour, linked
from grafana.src.layout import band, board
from grafana.src.links import to_flow
from grafana.src.panels import MOST_BARS, columns, lines, now, over_time, ranking, stats
from grafana.src.promql import (
    BY_PIPELINE,
    HOURS,
    SUMMED,
    at_end,
    bars,
    chosen,
    highest,
    lately,
    merged,
    of_pipelines,
    or_none,
    or_zero,
    total,
)
from grafana.src.tables import DEPLOYMENT, FLOW, WORKSPACE, Column, rows, table
from grafana.src.tasks import TASK, named_task

_GROWTH: Final = steps(PLAIN, (0.25, WATCH), (1.0, BAD), low=-1.0)
# More than half of a run's time: fixing anything else cannot make the run twice as fast.
_SHARE: Final = steps(GOOD, (0.5, WATCH))
_SHARES: Final = merged(lately(of_pipelines("prefect_task_run_time_share_ratio")), by=TASK)


def _time() -> model.Panel:
    return stats(
        "Task time, 7 days",
        "Seconds that finished task runs spent running, added up. It is what faster tasks could save; the table "
        "below says where.",
        now(total(chosen(tasks.seconds()))),
        unit="s",
        decimals=1,
    )


def _concentration() -> model.Panel:
    spent = chosen(tasks.seconds())
    return stats(
        "Top five's share",
        "Much: fix those five and leave the rest. Little: no single task is to blame; look at the workers and at "
        "what runs side by side.",
        now(f"sum({highest(spent, 5)}) / ({total(spent)} > 0)"),
        unit="percentunit",
        decimals=0,
    )


def _over_half() -> model.Panel:
    return stats(
        "Over half of a run",
        "Tasks that were running for more than half of their flow's last run. Of a flow that is too slow, begin with "
        "them.",
        now(or_zero(f"count({chosen(f'{_SHARES} > 0.5')})")),
    )


def _slower() -> model.Panel:
    return stats(
        "Slower tasks",
        "Tasks whose mean of seven days is at least a quarter above that of the seven before. They will break a "
        "limit next: see Grew most.",
        now(or_zero(f"count({chosen(f'{tasks.growth()} >= 0.25')})")),
        steps=COUNT_IS_WATCHED,
    )


def _cached() -> model.Panel:
    cached, completed = (
        total(chosen(tasks.runs(labels))) for labels in ('state="cached"', 'state=~"cached|completed|skipped"')
    )
    return stats(
        "Cached, 7 days",
        "Task runs that Prefect's cache answered, of those that completed. Falling: cache keys change, or results "
        "expire. Zero is right where nothing is cached.",
        now(or_zero(f"{cached} / ({completed} > 0)")),
        unit="percentunit",
        decimals=1,
    )


def _first() -> model.Panel:
    most = highest(chosen(f"({tasks.seconds()} > 0)"), 20)

    def of_most(expr: str) -> str:
        return f"max by ({TASK}) ({expr} and on ({TASK}) ({most}))"

    return table(
        "What to fix first",
        "The twenty tasks that took most time in seven days. Fix what is high, has a large part of its run (over 50 "
        "% is marked), and grows: split it, run it side by side, cache it, or ask for less data.",
        rows(f"max by ({TASK}) ({most})"),
        rows(of_most(_SHARES)),
        rows(of_most(tasks.mean_seconds())),
        rows(of_most(tasks.growth())),
        rows(of_most(tasks.week(tasks.RETRIES))),
        columns=(
            WORKSPACE,
            Column("task", "Task"),
            FLOW,
            DEPLOYMENT,
            Column("Value #A", "Time, 7 days", unit="s", width=165, decimals=1, steps=steps(DATA), bar=True),
            Column(
                "Value #B", "Of the last run", unit="percentunit", width=130, decimals=0, steps=_SHARE, bar=True, full=1
            ),
            Column("Value #C", "Mean", unit="s", width=80, decimals=1),
            Column("Value #D", "Week over week", unit="percentunit", width=130, decimals=0, steps=_GROWTH),
            Column("Value #E", "Retries", width=70, decimals=0),
        ),
        sort="Time, 7 days",
        all_good="No task is known to have finished within seven days.",
    )


def _slowest() -> model.Panel:
    slowest = f"sort_desc({named_task(highest(chosen(f'({tasks.mean_seconds()})')))})"
    panel = ranking(
        "Slowest tasks, mean of 7 days",
        "Seconds a single run of the task takes, those served from the cache left out. Slow and rare may be fine; "
        "slow and often is at the top of the table above.",
        now(slowest, "{{of}}"),
        unit="s",
        decimals=1,
    )
    return linked(in_colour(panel, DATA), to_flow())


def _grew() -> model.Panel:
    grew = f"sort_desc({named_task(highest(chosen(f'({tasks.growth()} > 0)')))})"
    return ranking(
        "Grew most, week over week",
        "How much longer a run of the task takes than in the seven days before: 100 % is twice as long. Compare with "
        "how much data came; if that did not grow, ask what was deployed.",
        now(grew, "{{of}}"),
        unit="percentunit",
        decimals=0,
        steps=steps(GOOD, (0.25, WATCH), (1.0, BAD)),
    )


def _shares() -> model.Panel:
    largest = f"sort_desc({named_task(highest(chosen(_SHARES)))})"
    return ranking(
        "Part of the last run's time",
        "The part of the flow's last run in which the task was running; tasks side by side add up to more than 100 "
        "%. Over 50 %: nothing else can make the run twice as fast.",
        now(largest, "{{of}}"),
        unit="percentunit",
        decimals=0,
        steps=_SHARE,
        high=1,
    )


def _over_time() -> model.Panel:
    seconds = bars(tasks.SECONDS, names=SUMMED)
    five = highest(total(chosen(f"({tasks.seconds(at_end)} > 0)", past=True), by=BY_PIPELINE), 5)
    panel = columns(
        "Time in tasks",
        "Seconds that task runs took: all, and in front of them those of the five pipelines that took most in the last "
        "seven days. The five swell: see above which of their tasks grew. All swell: more runs, or slower machines.",
        over_time(total(chosen(seconds)), "all pipelines"),
        over_time(total(f"({seconds} and on ({BY_PIPELINE}) ({five}))"), "top five pipelines"),
        unit="s",
        decimals=1,
        step=HOURS,
        stacked=False,
    )
    return coloured(panel, {"top five pipelines": DATA, "all pipelines": CALM})


def _cached_over_time() -> model.Panel:
    def ended(states: str) -> str:
        return or_none(total(chosen(bars(tasks.OUTCOMES, f'state=~"{states}"', names=SUMMED))))

    panel = lines(
        "Served from the cache",
        "Part of the completed task runs that the cache answered. A step down: a cache key changed with the last "
        "deployment.",
        over_time(f"{ended('cached')} / ({ended('cached|completed|skipped')} > 0)", "from the cache"),
        unit="percentunit",
        step=HOURS,
        fill=15,
        high=1,
        bridge=True,
    )
    panel.max_data_points = MOST_BARS
    return in_colour(panel, CACHED)


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-bottlenecks",
        title="Bottlenecks",
        description="Where the time goes: which tasks to fix first, which grew, which the cache spares.",
        variables=variables.of_all_pipelines(),
        refresh="5m",
        bands=[
            band(4, (_time(), 5), (_concentration(), 5), (_over_half(), 5), (_slower(), 4), (_cached(), 5)),
            band(11, (_first(), 24)),
            band(12, (_slowest(), 8), (_grew(), 8), (_shares(), 8), heading="Why"),
            band(8, (_over_time(), 15), (_cached_over_time(), 9), heading="Over time"),
        ],
    )
