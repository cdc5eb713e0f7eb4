"""The forms that the report can be printed in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from prefect_monitoring.report import html, markdown, slack
from prefect_monitoring.report.document import Document


def _slack(document: Document) -> str:
    return json.dumps(slack.render(document), ensure_ascii=False, indent=2) + "\n"


FORMATS: Final[Mapping[str, Callable[[Document], str]]] = {
    "markdown": markdown.render,
    "html": html.render,
    "slack": _slack,
}
