"""The report as a self-contained HTML page: no script, nothing to load, for light, dark and print."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import jinja2

from prefect_monitoring.report.document import Document


def render(document: Document) -> str:
    """The whole page, ending with a newline; every text is escaped."""
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    return _template().render(document=document, style=style)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["unbroken"] = _unbroken
    return environment.get_template("page.html")


def _unbroken(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
