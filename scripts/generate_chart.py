"""Generates the parts of the Helm chart that come from other files: values table, option names, AlertmanagerConfig.

Run from the repository's root: `python -m scripts.generate_chart`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from prefect_monitoring.config.settings import OPTIONS, SECRETS

CHART: Final = Path(__file__).parents[1] / "charts/prefect-monitoring"
ROUTES: Final = Path(__file__).parents[1] / "alertmanager/alertmanager.yml"

# --- values ----------------------------------------------------------------------------------------------------------

_VALUES_HEADING: Final = "## Values\n"
_TABLE_HEAD: Final = """
<!-- Generated from values.yaml by `make docs`. -->

| Value | Default | What it is |
| --- | --- | --- |
"""
# Set by the chart, or by Kubernetes itself.
_NOT_IN_CONFIG: Final = {"listen", "archive_listen", "pipelines", "tls_cert", "tls_key", "ledger_url"}
_PREFECT_SECRETS: Final = ("prefect_api_key", "prefect_api_auth_string")


def described_values() -> Iterator[tuple[str, str, str]]:
    """Each value that has a description: its path, its default as YAML, and the description."""
    path: list[tuple[int, str]] = []
    description: list[str] = []
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)
    for line in text.splitlines():
        if comment := re.match(r" *# (-- )?(.*)", line):
            description = [comment[2]] if comment[1] else [*description, comment[2]] if description else []
        elif key := re.match(r"( *)(\w+):", line):
            path = [*(outer for outer in path if outer[0] < len(key[1])), (len(key[1]), key[2])]
            if description:
                names = [name for _, name in path]
                yield ".".join(names), _shown(_at(defaults, names)), " ".join(description)
            description = []


def _at(values: Any, names: list[str]) -> Any:
    for name in names:
        values = values[name]
    return values


def _shown(value: object) -> str:
    return json.dumps(value).replace("|", "\\|")


def readme() -> str:
    """README.md, with its table of values renewed."""
    head = (CHART / "README.md").read_text(encoding="utf-8").partition(_VALUES_HEADING)[0]
    rows = [f"| `{path}` | `{default}` | {description} |\n" for path, default, description in described_values()]
    return f"{head}{_VALUES_HEADING}{_TABLE_HEAD}{''.join(rows)}"


def schema() -> str:
    """values.schema.json, with the names of options and secrets renewed."""
    found = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    files = {f"{secret}_file" for secret in SECRETS}
    options = sorted(OPTIONS.keys() - files - set(SECRETS) - _NOT_IN_CONFIG)
    found["$defs"]["option"]["enum"] = options
    found["$defs"]["secret"]["enum"] = sorted({*_PREFECT_SECRETS, *SECRETS})
    return json.dumps(found, indent=2) + "\n"


# --- AlertmanagerConfig ----------------------------------------------------------------------------------------------

_SECRETS_FOLDER: Final = "/etc/alertmanager/secrets/"
# No route uses them yet, and the operator refuses a configuration whose secrets are missing.
_EXAMPLES: Final = frozenset({"slack-example-team", "teams", "webhook"})
_FIELDS: Final = {
    "api_url_file": "apiURL",
    "routing_key_file": "routingKey",
    "client_url": "clientURL",
    "pagerduty_configs": "pagerdutyConfigs",
    "links": "pagerDutyLinkConfigs",
}
_NAMED_MATCHERS: Final = {"source_matchers": "sourceMatch", "target_matchers": "targetMatch"}


def alertmanager_config() -> str:
    """alertmanager.yml's routes, inhibitions and receivers, as the specification of an AlertmanagerConfig."""
    config = yaml.safe_load(ROUTES.read_text(encoding="utf-8"))
    spec = {
        "route": _camel(_without_example(config["route"])),
        "inhibitRules": [_camel(rule) for rule in config["inhibit_rules"]],
        "receivers": [_camel(receiver) for receiver in config["receivers"] if receiver["name"] not in _EXAMPLES],
        "muteTimeIntervals": [_camel(interval) for interval in config["time_intervals"]],
    }
    head = "# alertmanager/alertmanager.yml as the specification of an AlertmanagerConfig: `make docs`.\n"
    return head + str(yaml.safe_dump(spec, sort_keys=False, width=1000))


def _without_example(route: Mapping[str, Any]) -> dict[str, Any]:
    kept = [_without_example(child) for child in route.get("routes", ()) if child["receiver"] not in _EXAMPLES]
    return {key: value for key, value in route.items() if key != "routes"} | ({"routes": kept} if kept else {})


def _camel(value: Any) -> Any:
    """The same in the spelling of the Prometheus Operator."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    return dict(_field(key, item) for key, item in value.items())


def _field(key: str, value: Any) -> tuple[str, Any]:
    if key == "matchers" or key in _NAMED_MATCHERS:
        return _NAMED_MATCHERS.get(key, key), [_matcher(matcher) for matcher in value]
    if key == "url" and str(value).startswith("https://dead-mans-switch."):
        return "urlSecret", {"name": "<existingSecret>", "key": "dead-mans-switch-url"}
    if key.endswith("_file"):
        return _FIELDS[key], {"name": "<existingSecret>", "key": value.removeprefix(_SECRETS_FOLDER)}
    if key == "details":
        return key, [{"key": name, "value": text} for name, text in value.items()]
    if key == "links":
        return _FIELDS[key], [{"alt": one["text"], "href": one["href"]} for one in value]
    return _FIELDS.get(key, re.sub(r"_(\w)", lambda found: found[1].upper(), key)), _camel(value)


def _matcher(text: str) -> dict[str, str]:
    found = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', text)
    if found is None:
        raise ValueError(f"not a matcher: {text}")
    return {"name": found[1], "matchType": found[2], "value": found[3]}


FILES: Final = {"README.md": readme, "values.schema.json": schema, "files/alertmanagerconfig.yml": alertmanager_config}


def main() -> None:
    for name, make in FILES.items():
        (CHART / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
