"""Which alerts fire when, in promtool's judgement, over what months of scrapes have left."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from months.watch import Watch
from support.prometheus import promtool

_FAILED: Final = re.compile(r'expr: "(?:[^"\\]|\\.)*", time: (\S+),\n\s+exp: .*\n\s+got: (.*)')
_ALERTS_READ: Final = re.compile(r'alertname=~?"([\w|]+)"')
_VERDICT: Final = re.compile(r"^\s*(SUCCESS|FAILED)", re.MULTILINE)
_WORDS: Final = re.compile(r"Unit Testing:\s+\S+|FAILED:|SUCCESS")
_SAMPLE: Final = re.compile(r'\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\} (\S+?)(?:, |$)')
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SPAN: Final = re.compile(r"(\d+)([smhdwy])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}

WATCHDOG: Final = "PrefectWatchdog"

Group = Mapping[str, Any]
Alert = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Episode:
    """An alert that fired from `begin` until `end`, when it resolved, in epoch seconds."""

    labels: Alert
    begin: float
    end: float


def judge(groups: Sequence[Group], series: Iterable[tuple[str, str]], watch: Watch, folder: Path) -> set[Episode]:
    """Every episode of every alert but the Watchdog, which has to fire at every evaluation."""
    folder.mkdir()
    interval = f"{watch.step:.0f}s"
    (folder / "rules.yml").write_text(json.dumps({"groups": groups}))  # JSON is YAML
    questions = [_question(step * watch.step) for step in range(watch.steps + 1)]
    if any(rule.get("alert") == WATCHDOG for group in groups for rule in group["rules"]):
        questions += [_watchdog(watch, hour) for hour in range(24, int(watch.end - watch.begin) // 3600 + 1, 24)]
    test = {
        "interval": interval,
        "input_series": [{"series": key, "values": values} for key, values in series],
        "promql_expr_test": questions,
    }
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": interval,
        "group_eval_order": [group["name"] for group in groups],
        "tests": [test],
    }
    (folder / "month.yml").write_text(json.dumps(document))
    done = promtool("test", "rules", "month.yml", cwd=folder)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"promtool ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return set(_episodes(_firing(done.stdout + done.stderr), watch))


def parts(groups: Sequence[Group], number: int) -> list[list[Group]]:
    """The alerts in so many parts that take about as long, each with all that they read."""
    rules = [rule for group in groups for rule in group["rules"]]
    alerts = [rule for rule in rules if "alert" in rule]
    found: list[list[Group]] = []
    read_by_all = {name for rule in rules if "record" in rule for name in _alerts_read(rule["expr"])}
    for part in range(number):
        names = {rule["alert"] for rule in alerts[part::number]} | read_by_all
        names |= {other for rule in alerts if rule["alert"] in names for other in _alerts_read(rule["expr"])}
        found.append(
            [
                {**group, "rules": [one for one in group["rules"] if "record" in one or one["alert"] in names]}
                for group in groups
            ]
        )
    return found


def _alerts_read(expression: str) -> set[str]:
    return {name for names in _ALERTS_READ.findall(expression) for name in names.split("|")}


def _question(seconds: float) -> dict[str, Any]:
    """Nothing is expected, so that promtool reports everything that there is."""
    firing = f'ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}}'
    return {"expr": firing, "eval_time": f"{seconds:.0f}s", "exp_samples": []}


def _watchdog(watch: Watch, hour: int) -> dict[str, Any]:
    """Promtool reports of it only when it was silent on that day."""
    firing = f'alertname="{WATCHDOG}",alertstate="firing"'
    return {
        "expr": f"count_over_time(ALERTS{{{firing}}}[1d]) >= bool {86400 / watch.step:.0f}",
        "eval_time": f"{hour}h",
        "exp_samples": [{"labels": f'{{{firing},severity="none"}}', "value": 1}],
    }


def _firing(output: str) -> dict[Alert, list[float]]:
    """The instants at which each alert fires. Raises ValueError when promtool reports of anything else."""
    if not _VERDICT.search(output):
        raise ValueError(f"promtool has come to no verdict: {output[:3000]!r}")
    if rest := _WORDS.sub("", _FAILED.sub("", output)).strip():
        raise ValueError(rest[:3000])
    found: defaultdict[Alert, list[float]] = defaultdict(list)
    for time, samples in _FAILED.findall(output):
        at = sum(int(count) * _SECONDS[unit] for count, unit in _SPAN.findall(time))
        for labels, _ in _SAMPLE.findall(samples):
            known = {name: json.loads(f'"{value}"') for name, value in _LABEL.findall(labels)}
            for label in ("__name__", "alertstate", "flow_run_id"):  # the next failed run continues the incident
                known.pop(label, None)
            found[frozenset(known.items())].append(at)
    return found


def _episodes(firing: Mapping[Alert, Sequence[float]], watch: Watch) -> Iterator[Episode]:
    for labels, instants in firing.items():
        begin = before = instants[0]
        for instant in [*instants[1:], math.inf]:
            if instant > before + watch.step:
                yield Episode(labels, watch.begin + begin, watch.begin + before + watch.step)
                begin = instant
            before = instant
