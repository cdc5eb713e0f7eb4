"""Dashboards as files: for import, for provisioning and for grafana.com."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.src import grafana_com

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "grafana/dashboards").glob("*.json"))
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


@each_file
def test_file_can_be_imported_and_provisioned_as_it_is(path: Path) -> None:
    """No inputs, no id of another Grafana, and a uid fit for links and within Grafana's 40 characters."""
    content = load(path)
    assert "__inputs" not in content
    assert content.get("id") is None
    assert content["uid"] == path.stem
    assert len(content["uid"]) <= 40
    sources = {json.dumps(one) for one in re.findall(r'"datasource": {[^}]*}', path.read_text(encoding="utf-8"))}
    assert sources
    assert all(re.search(r"\$\{datasource\}|-- Mixed --|grafana", one) for one in sources), sources


@each_file
def test_file_for_grafana_com_asks_for_the_data_source_alone(path: Path, tmp_path: Path) -> None:
    grafana_com.main(tmp_path)
    text, content = (tmp_path / path.name).read_text(encoding="utf-8"), load(path)
    shared = json.loads(text)
    (asked,) = shared.pop("__inputs")
    assert (asked["type"], asked["pluginId"]) == ("datasource", "prometheus")
    panels = [nested for panel in content["panels"] for nested in (panel, *(panel.get("panels") or ()))]
    required = {panel["id"] for panel in shared.pop("__requires") if panel["type"] == "panel"}
    assert required == {panel["type"] for panel in panels} - {"row"}
    assert (shared.pop("id"), shared.pop("__elements")) == (None, {})
    (variable,) = [variable for variable in shared["templating"]["list"] if variable["type"] == "datasource"]
    assert variable.pop("current") == dict.fromkeys(("text", "value"), f"${{{asked['name']}}}")
    assert shared == content, "nothing else differs"
    assert text.count(f"${{{asked['name']}}}") == 2


def test_provisioning_on_the_page_is_that_of_the_stack() -> None:
    page = (ROOT / "docs/dashboards.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "providers:" in one]
    shown = yaml.safe_load(block)
    used = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/prefect-monitoring.yml").read_text(encoding="utf-8"))
    for providers in (shown["providers"], used["providers"]):
        (provider,) = providers
        assert provider.pop("options").keys() == {"path"}
    assert shown["apiVersion"] == used["apiVersion"]
    assert shown["providers"][0].items() <= used["providers"][0].items()
