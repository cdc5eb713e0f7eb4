"""The exporter's output as text for comparison: sorted, without markup, with values that vary masked."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise

_LABEL = r'(\w+)="((?:[^"\\]|\\.)*)"'
_SAMPLE = re.compile(rf"(?P<name>[\w:]+)(?P<labels>\{{(?:{_LABEL},?)*\}})? (?P<value>\S+)(?: (?P<at>\d+))?")
MASK = "*"
# Families with masked values, and why. Their names and labels are compared.
COSTS: Mapping[str, str] = {
    "prefect_exporter_api_requests_total": "counts readings: how many there were until it was asked",
    "prefect_exporter_records_total": "counts readings as well",
    "prefect_exporter_source_duration_seconds": "the machine's speed",
    "prefect_exporter_ledger_bytes": "how the ledger stores what it knows",
}
# Labels with versions, by family.
VERSIONS: Mapping[str, Collection[str]] = {"prefect_exporter_build_info": ("version", "python_version")}
# Metrics of the process by prometheus_client, which differ between platforms.
LEFT_OUT = "process_"
BETWEEN_CELLS = " | "
LONG = 100


def exposition(text: str) -> str:
    """The families of a scrape by name, each with its help, its type and its sorted series.

    The buckets of a histogram are on one line, in order.
    """
    heads: defaultdict[str, list[str]] = defaultdict(list)
    series: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    family = ""
    for line in text.splitlines():
        if line.startswith("#"):
            family = line.split(" ")[2]
            heads[family].append(line)
        else:
            name, value = _sample(family, line)
            series[family][name].append(value)
    lines: list[str] = []
    for family in sorted(heads):
        if not family.startswith(LEFT_OUT):
            lines += heads[family]
            lines += sorted(f"{name} {' '.join(values)}" for name, values in series[family].items())
    return "".join(f"{line}\n" for line in lines)


def _sample(family: str, line: str) -> tuple[str, str]:
    """(name with labels, value) of a sample; a bucket's limit is part of its value."""
    found = _SAMPLE.fullmatch(line)
    assert found, line
    labels = {one[1]: one[2] for one in re.finditer(_LABEL, found["labels"] or "")}
    labels |= dict.fromkeys(VERSIONS.get(family, ()), MASK)
    limit = labels.pop("le", None) if found["name"].endswith("_bucket") else None
    value = MASK if family in COSTS else found["value"]
    labels_text = ",".join(f'{label}="{text}"' for label, text in labels.items())
    name = f"{found['name']}{{{labels_text}}}" if labels_text else found["name"]
    return name, f"{limit}:{value}" if limit is not None else value


@dataclass
class _Text(HTMLParser):
    """The text of a page: a line for each row and paragraph, with separated cells and the addresses of links."""

    lines: list[str] = field(default_factory=list)
    _cells: list[str] = field(default_factory=lambda: [""])
    _skipped: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._skipped += tag in {"style", "script"}
        if tag in {"td", "th"}:
            self._cells.append("")
        elif tag in {"tr", "p", "li", "h1", "h2", "nav", "header"}:
            self._end_line()
        elif tag == "a":
            self._cells[-1] += f" <{dict(attributes)['href']}> "
        elif tag == "small":
            self._cells[-1] += " / "

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in {"style", "script"}
        is_of_page = tag == "title" and not self.lines  # charts have titles too, which belong to their rows
        if is_of_page or tag in {"tr", "p", "li", "h1", "h2", "nav"}:
            self._end_line()

    def handle_data(self, text: str) -> None:
        if not self._skipped:
            self._cells[-1] += text

    def _end_line(self) -> None:
        before, *cells = [" ".join(cell.split()) for cell in self._cells]
        shown = ([before] if before else []) + [cell or "-" for cell in cells]
        if shown:
            self.lines.append(BETWEEN_CELLS.join(shown))
        self._cells = [""]


def page(html: str) -> str:
    """The text of the status page, with the version, the address of the stub and the number of runs masked."""
    reader = _Text()
    reader.feed(html)
    text = "".join(f"{line}\n" for line in reader.lines)
    text = re.sub(r"^Version [^ ,]+", f"Version {MASK}", text, flags=re.MULTILINE)
    text = re.sub(r"^Watches .*", f"Watches {MASK}", text, flags=re.MULTILINE)
    return re.sub(r"^(\w+ \| read \| )[\d,]+ ", rf"\g<1>{MASK} ", text, flags=re.MULTILINE)


def wrapped(text: str) -> str:
    """The same text with each cell of a long row on a separate line."""
    lines = (line if len(line) < LONG else line.replace(BETWEEN_CELLS, "\n    ") for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines)


def past(files: Iterable[tuple[str, str]]) -> str:
    """Files of samples (name, text) as a line for each series: its begin, each changed value, its end.

    The number of samples is in brackets; it includes samples whose value has not changed.
    """
    samples_of: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    types: dict[str, None] = {}
    names = []
    for name, text in files:
        names.append(name)
        *lines, last = text.splitlines()
        assert last == "# EOF", name
        types |= dict.fromkeys(line for line in lines if line.startswith("#"))
        for line in lines:
            if found := _SAMPLE.fullmatch(line):
                samples_of[f"{found['name']}{found['labels'] or ''}"].append((int(found["at"]), found["value"]))
            else:
                assert line.startswith("# TYPE "), line
    series = (f"{name} {_curve(samples, sparse=':' in name)}" for name, samples in samples_of.items())
    return "".join(f"{line}\n" for line in (" ".join(names), *types, *sorted(series)))


def _curve(samples: list[tuple[int, str]], *, sparse: bool) -> str:
    """`sparse`: recorded only where something was counted."""
    steps = {later - earlier for (earlier, _), (later, _) in pairwise(samples)}
    assert len(steps) <= 1 or sparse, f"not on a grid: {samples}"
    values = [None, *(value for _, value in samples)]
    pairs = zip(values, samples, strict=False)
    new = (f"{_slot(at)} {value}" for before, (at, value) in pairs if sparse or value != before)
    return f"{', '.join(new)}, … {_slot(samples[-1][0])} ({len(samples)})"


def _slot(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%d.%H:%M}"
