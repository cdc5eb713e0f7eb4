"""The finished runs of the team's month, with states, task runs and log lines, as rows of Prefect's database.

The same seed gives the same month; every row is dated before `now`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random

from dashboards.team import Health, Pipeline, Reported, Step
from support.bulk import Batch, Entered, add_flow_run, add_log, add_task_run, task_history

MONTH = timedelta(days=32)  # two days longer than the 30 days that dashboards show
SILENCE = timedelta(minutes=3)  # runs end at least this long ago, so that no poll comes between their rows
TROUBLED = 5  # number of last runs that report the values of trouble
_INSTANT = timedelta(milliseconds=5)
_RETRY_LINE = "Task run failed with exception: {} - Retry 1/3 will start 10 second(s) from now"


@dataclass(frozen=True, slots=True)
class Place:
    """The objects on a server that the runs of a pipeline belong to."""

    flow_id: str
    deployment_id: str | None
    work_queue_id: str | None


def add_month(batch: Batch, pipeline: Pipeline, place: Place, now: datetime, *, trouble: bool) -> None:
    """All finished runs of the pipeline."""
    random = Random(f"{pipeline.flow}/{pipeline.deployment}")
    health = pipeline.health(trouble)
    starts = [due for due in _starts(pipeline, now, random) if now - due >= health.silent]
    for number, due in enumerate(starts):
        age = (now - due) / MONTH
        took = pipeline.seconds * (1 + health.growth * (1 - age)) * random.uniform(0.88, 1.14)
        end = due + timedelta(seconds=random.uniform(4, 25) + took)
        if end > now - SILENCE:
            continue
        left = len(starts) - number
        ended = "Failed" if left <= health.last_failed else _ended(health, random)
        if not trouble and left <= 2:  # the last run may still be active
            ended = "Completed"
        _add_run(batch, pipeline, place, due, end, took, ended, random, in_trouble=trouble and left <= TROUBLED)


def _starts(pipeline: Pipeline, now: datetime, random: Random) -> Iterator[datetime]:
    if not pipeline.hours:
        yield from sorted(now - random.random() * MONTH for _ in range(pipeline.ad_hoc))
        return
    day = (now - MONTH).replace(hour=0, minute=pipeline.minute, second=0, microsecond=0)
    while day <= now:
        if pipeline.is_due_on(day):
            yield from (due for hour in pipeline.hours if now - MONTH < (due := day.replace(hour=hour)) <= now)
        day += timedelta(days=1)


def _ended(health: Health, random: Random) -> str:
    dice = random.uniform(0, 100)
    if dice < health.crashed:
        return "Crashed"
    return "Failed" if dice < health.crashed + health.failed else "Completed"


def _add_run(
    batch: Batch,
    pipeline: Pipeline,
    place: Place,
    due: datetime,
    end: datetime,
    took: float,
    ended: str,
    random: Random,
    *,
    in_trouble: bool,
) -> None:
    begun = end - timedelta(seconds=took)
    history = [Entered("Scheduled", due), Entered("Pending", begun - timedelta(seconds=2)), Entered("Running", begun)]
    attempt = 1
    if ended == "Completed" and random.uniform(0, 100) < pipeline.flow_retries:
        attempt, broke, again = 2, begun + (end - begun) / 3, begun + (end - begun) / 2
        history += [Entered("Failed", broke, pipeline.message), Entered("AwaitingRetry", broke + _INSTANT)]
        history += [Entered("Retrying", again)]
        begun = again
    history.append(Entered(ended, end, None if ended == "Completed" else pipeline.message))
    run_id = add_flow_run(
        batch,
        place.flow_id,
        history,
        deployment_id=place.deployment_id,
        work_queue_id=place.work_queue_id,
        tags=pipeline.tags,
    )
    spent = (end - begun).total_seconds()
    done = 0.0
    for step in pipeline.steps:
        seconds = spent * step.share * random.uniform(0.96, 1.0)
        task_end = begun + timedelta(seconds=done + seconds)
        done += spent * step.share
        fails = ended != "Completed" and step is _heaviest(pipeline)
        _add_task(batch, pipeline, step, run_id, task_end, seconds, attempt, random, fails, in_trouble)
        if fails:
            break


def _heaviest(pipeline: Pipeline) -> Step:
    return max(pipeline.steps, key=lambda step: step.share)


def _add_task(
    batch: Batch,
    pipeline: Pipeline,
    step: Step,
    run_id: str,
    end: datetime,
    seconds: float,
    attempt: int,
    random: Random,
    fails: bool,
    in_trouble: bool,
) -> None:
    cached, retried = (random.uniform(0, 100) < percent for percent in (step.cached, step.retried))
    state = "Failed" if fails else "Cached" if cached else "Completed"
    duration = timedelta(seconds=0.1 if cached else seconds)
    attempts = 2 if retried and not cached else 1
    states = task_history(end, state, duration=duration, attempts=attempts, message=pipeline.message if fails else None)
    task_id = add_task_run(batch, step.name, run_id, states, flow_run_attempt=attempt)
    log = partial(add_log, batch, flow_run_id=run_id, task_run_id=task_id)
    if attempts == 2:
        cause = pipeline.message.partition("exception: ")[2] or pipeline.message
        log(end - duration / 2, _RETRY_LINE.format(f"{cause!r}"), level=40)
    if not fails:
        for reported in step.metrics:
            value = _value(reported, end, random, in_trouble)
            log(end, f"METRIC: {reported.name}{reported.labels}={value:.10g}")


def _value(reported: Reported, at: datetime, random: Random, in_trouble: bool) -> float:
    if in_trouble and reported.in_trouble is not None:
        return reported.in_trouble
    value = random.uniform(reported.low, reported.high)
    if reported.dips and at.weekday() >= 5:
        value /= 3
    return round(value, 2) if reported.high < 100 else float(round(value))


def new_batch() -> Batch:
    return defaultdict(list)
