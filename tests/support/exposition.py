"""Parses /metrics into numbers."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from support import metrics_seen

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """Every sample by name and labels. Raises ValueError for duplicates."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            if key in samples:
                raise ValueError(f"exposed twice: {sample.name}{sample.labels}")
            samples[key] = float(sample.value)
    metrics_seen.note(samples)
    return samples


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """The sample with exactly these labels, None without one; an empty label equals an absent one."""
    exact = samples.get((name, frozenset(labels.items())))
    if exact is not None:
        return exact
    given = {(label, text) for label, text in labels.items() if text}
    same = (number for (other, key), number in samples.items() if other == name and _without_empty(key) == given)
    return next(same, None)


def _without_empty(labels: frozenset[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(label, text) for label, text in labels if text}


def matching(samples: Samples, name: str, **labels: str) -> dict[frozenset[tuple[str, str]], float]:
    """All samples that have at least these labels."""
    return {
        key[1]: number for key, number in samples.items() if key[0] == name and labels.items() <= dict(key[1]).items()
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(matching(samples, name, **labels).values())


def outcomes(samples: Samples, *, flow_prefix: str = "") -> Counter[tuple[str, str, str]]:
    """prefect_flow_run_outcomes_total as (flow, deployment, state) → count, without zeros: comparable with truth()."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for labels, number in matching(samples, "prefect_flow_run_outcomes_total").items():
        of = dict(labels)
        if number and of["flow"].startswith(flow_prefix):
            counted[of["flow"], of["deployment"], of["state"]] = int(number)
    return counted
