"""The committed dashboards: their panels, queries and variables, and the values that Grafana substitutes in queries."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana/dashboards"
VARIABLE = re.compile(r"\$\{(\w+)(?::[^}]*)?\}|\$([a-zA-Z_]\w*)")
POINTS = 1000  # resolution of a wide panel that sets no other
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

Json = dict[str, Any]


@dataclass(frozen=True)
class Page:
    path: Path
    content: Json

    @property
    def uid(self) -> str:
        return str(self.content["uid"])

    @property
    def seconds(self) -> int:
        """The default time range of the page."""
        return seconds_of(self.content["time"]["from"].removeprefix("now-").partition("/")[0])

    @property
    def variables(self) -> dict[str, Json]:
        return {one["name"]: one for one in self.content["templating"]["list"]}

    def panels(self, *, rows: bool = False) -> Iterator[Json]:
        for panel in self.content["panels"]:
            if panel["type"] != "row":
                yield panel
                continue
            if rows:
                yield panel
            yield from panel.get("panels") or ()


@dataclass(frozen=True)
class Query:
    """A query of a panel, as in the file; `instant`: it asks for the current value, not for a range."""

    page: Page
    panel: Json
    target: Json

    @property
    def text(self) -> str:
        return str(self.target["expr"])

    @property
    def instant(self) -> bool:
        return bool(self.target.get("instant")) and not self.target.get("range")

    @property
    def seconds(self) -> int:
        """Its time range, in seconds; a panel may override that of the page."""
        return seconds_of(own) if (own := self.panel.get("timeFrom")) else self.page.seconds

    @property
    def step(self) -> int:
        """Seconds between the points of a range query over the default time range."""
        return self.step_of(self.seconds)

    def step_of(self, seconds: int) -> int:
        """Seconds between the points of a range query over so many seconds; a panel may set a minimum."""
        least = self.target.get("interval") or self.panel.get("interval")
        return max(seconds_of(least) if least else 15, seconds // (self.panel.get("maxDataPoints") or POINTS))

    def __str__(self) -> str:
        return f"{self.page.uid}: {self.panel['title']} {self.target['refId']}"

    def filled(self, values: Mapping[str, str], seconds: int | None = None) -> str:
        """The query as Prometheus gets it, with these values of the page's variables and this time range."""
        seconds = seconds or self.seconds
        step = self.step_of(seconds)
        own = {
            "__range": f"{seconds}s",
            "__range_s": str(seconds),
            "__interval": f"{step}s",
            "__rate_interval": f"{max(step + 15, 60)}s",
        }
        return fill(self.text, {**own, **values})


@cache
def pages() -> tuple[Page, ...]:
    return tuple(Page(path, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*.json")))


@cache
def queries() -> tuple[Query, ...]:
    """Queries of all panels of all pages."""
    return tuple(
        Query(page, panel, target)
        for page in pages()
        for panel in page.panels()
        for target in panel.get("targets") or ()
    )


def seconds_of(duration: str) -> int:
    """Seconds of a duration such as 30s, 15m, 2h or 7d."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def fill(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: values[found[1] or found[2]], text)


def query_of(variable: Json) -> str:
    """The query of a variable, such as label_values(metric, label); "" if it has none."""
    query = variable.get("query") or ""
    if isinstance(query, dict):
        query = query.get("query") or ""
    return str(query) if variable["type"] == "query" else ""


def all_of(variable: Json) -> str:
    """The value that Grafana substitutes for All, or for a variable with a single value."""
    if variable.get("includeAll"):
        return str(variable.get("allValue") or ".*")
    current = (variable.get("current") or {}).get("value")
    return str(current[0] if isinstance(current, list) else current or ".*")


def label_values(query: str) -> tuple[str, str]:
    """The selector and the label of a label_values query."""
    match = re.fullmatch(r"label_values\((.*),\s*(\w+)\)", query, re.DOTALL)
    assert match, query
    return match[1], match[2]


def names_in(node: Any) -> Iterator[str]:
    """The variables that are used anywhere below `node`."""
    if isinstance(node, dict):
        for value in node.values():
            yield from names_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from names_in(value)
    elif isinstance(node, str):
        yield from (found[1] or found[2] for found in VARIABLE.finditer(node))
