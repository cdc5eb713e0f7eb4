"""The status page of a snapshot, parsed."""

from __future__ import annotations

from html.parser import HTMLParser

from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.status_page.page import render_page
from unit.snapshots import NOW

STALE = 75.0
VOID = {"meta", "link", "path"}


class ParsedPage(HTMLParser):
    """The page as a browser reads it; every element must be closed by its end tag."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.links: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = {name: value or "" for name, value in attrs}
        self.attributes += named.items()
        if tag not in VOID:
            self._open.append(tag)
        if tag == "a":
            self._href = named["href"]
            assert named.get("rel") == "noreferrer" or not self._href.startswith("http")
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts.append(data)
        if "a" in self._open:
            self.links[data] = self._href
        if {"td", "th"} & set(self._open) and "title" not in self._open:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def names(self) -> list[str]:
        """The first cell of each row of the first table, headings included."""
        names = [" ".join(row[0].split()) for row in self.rows]
        return names[1 : names.index("Source")]


def parsed_page(snapshot: Snapshot, now: float = NOW) -> ParsedPage:
    return ParsedPage(render_page(snapshot, STALE, now))
