"""The Helm chart, rendered by Helm from each file of ci/: its manifests are valid and hold the repository's files."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_monitoring import __version__
from prefect_monitoring.cli import make_parser
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import SECRETS
from support.prometheus import promtool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/prefect-monitoring"
PYTHON = ROOT / ".venv-chart/bin/python"
VERSIONS = ["1.27", "1.37"]  # of Kubernetes: the oldest that Chart.yaml takes, and the newest with a schema
RELEASES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").iterdir())}
API = {"prefect": {"apiUrl": "http://prefect:4200/api"}}

# Values that the schema or a template refuses, and a word in the error message.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no address": ({}, "apiUrl"),
    "an address without the API's path": ({"prefect": {"apiUrl": "http://prefect:4200"}}, "apiUrl"),
    "a misspelled value": (API | {"servicemonitor": {}}, "servicemonitor"),
    "a misspelled value within a group": (API | {"image": {"tags": "1"}}, "tags"),
    "a misspelled option": (API | {"config": {"poll_intervall": "1s"}}, "poll_intervall"),
    "a secret as an option": (API | {"config": {"auth_token": "s3cret"}}, "auth_token"),
    "a secret instead of its name": (API | {"existingSecrets": {"prefect_api_key": "pnu_key"}}, "prefect_api_key"),
    "an unknown secret": (API | {"existingSecrets": {"api_key": {"name": "a", "key": "b"}}}, "api_key"),
    "routes without their secrets": (API | {"alertmanagerConfig": {"enabled": True}}, "existingSecret"),
    "an archive to nowhere": (API | {"archive": {"enabled": True}}, "archive.to"),
    "an interval without a unit": (API | {"serviceMonitor": {"interval": "15"}}, "interval"),
}

# Mistakes that the schemas find, and their messages.
BROKEN = "broken"
MONITOR = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "wrong"}}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "wrong"}}
MISTAKES = [
    MONITOR | {"spec": {"selector": {}, "endpoints": [{"port": "metrics", "intervall": "15s"}]}},
    SERVICE | {"spec": {"prots": []}},
]


@dataclass(frozen=True)
class Rendered:
    lint: dict[str, Any]
    manifests: dict[str, dict[str, str]]  # by release and template
    faults: list[str]
    refusals: dict[str, str]
    packaged: list[str]

    @cached_property
    def objects(self) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [
                thing
                for template, text in rendered.items()
                if template.endswith(".yaml")
                for thing in yaml.load_all(text, Loader=yaml.CSafeLoader)
                if thing
            ]
            for name, rendered in self.manifests.items()
        }

    def of_kind(self, release: str, kind: str) -> list[dict[str, Any]]:
        return [thing for thing in self.objects[release] if thing["kind"] == kind]


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    releases = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in RELEASES.items()}
    asked = {
        "chart": str(CHART),
        "releases": releases | {BROKEN: API | {"extraManifests": MISTAKES}},
        "refused": {name: values for name, (values, _) in REFUSED.items()},
        "versions": VERSIONS,
    }
    script = Path(__file__).with_name("render_chart.py")
    done = subprocess.run(
        [PYTHON, script], input=json.dumps(asked), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return Rendered(**json.loads(done.stdout))


def test_each_set_of_values_passes_the_linter(rendered: Rendered) -> None:
    found = {name: [one["error"] for one in rendered.lint[name]["messages"]] for name in RELEASES}
    assert found == {name: ["icon is recommended"] for name in RELEASES}


def test_each_manifest_fits_its_schema(rendered: Rendered) -> None:
    """Except those of the Grafana Operator, whose schemas are in no package."""
    without = [fault for fault in rendered.faults if re.fullmatch(r"GrafanaDashboard \S+: no schema", fault)]
    assert len(without) == len(list((ROOT / "grafana/dashboards").glob("*.json")))
    wrong = [fault for fault in rendered.faults if fault not in without]
    assert len(wrong) == len(MISTAKES), wrong
    assert wrong[0] == "ServiceMonitor wrong: unknown field .spec.endpoints[0].intervall"
    assert "'prots' was unexpected" in wrong[1]


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_values_are_refused_by_name(rendered: Rendered, name: str) -> None:
    assert REFUSED[name][1] in rendered.refusals[name]


@pytest.mark.parametrize("release", ["cloud", "everything"])
def test_rules_are_those_of_the_repository_and_pass_promtool(rendered: Rendered, release: str, tmp_path: Path) -> None:
    rules = rendered.of_kind(release, "PrometheusRule")
    sources = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (ROOT / "prometheus/rules").glob("*.yml")
    }
    assert {one["metadata"]["name"].rpartition("-")[2]: one["spec"] for one in rules} == sources
    for one in rules:
        (tmp_path / f"{one['metadata']['name']}.yml").write_text(yaml.safe_dump(one["spec"]), encoding="utf-8")
    checked = promtool("check", "rules", *tmp_path.iterdir())
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_files_equal_those_of_the_repository(rendered: Rendered) -> None:
    data = {
        name: text
        for thing in rendered.of_kind("everything", "ConfigMap")
        for name, text in thing.get("data", {}).items()
    }
    sources = [*(ROOT / "grafana/dashboards").glob("*.json"), *(ROOT / "alertmanager/templates").glob("*.tmpl")]
    assert sources
    for path in sources:
        assert data[path.name].encode() == path.read_bytes(), path.name


def test_package_holds_files_instead_of_links(rendered: Rendered) -> None:
    rules = [path.name for path in (ROOT / "prometheus/rules").glob("*.yml")]
    dashboards = [path.name for path in (ROOT / "grafana/dashboards").glob("*.json")]
    files = {f"prefect-monitoring/files/rules/{name}" for name in rules}
    files |= {f"prefect-monitoring/files/dashboards/{name}" for name in dashboards}
    assert files <= set(rendered.packaged)


def test_no_manifest_is_or_holds_a_secret(rendered: Rendered) -> None:
    for release in RELEASES:
        assert not rendered.of_kind(release, "Secret")
        for container in containers(rendered, release):
            for variable in container["env"]:
                hidden = re.search(r"PASSWORD|TOKEN|API_KEY|AUTH_STRING", variable["name"])
                assert not hidden or variable["name"].endswith("_FILE"), variable


def workloads(rendered: Rendered, release: str) -> list[dict[str, Any]]:
    return [*rendered.of_kind(release, "StatefulSet"), *rendered.of_kind(release, "Deployment")]


def containers(rendered: Rendered, release: str) -> Iterator[dict[str, Any]]:
    for workload in workloads(rendered, release):
        yield from workload["spec"]["template"]["spec"]["containers"]


def test_selectors_are_the_same_for_all_values_and_find_the_pods(rendered: Rendered) -> None:
    found: dict[str, set[str]] = {}
    for release in RELEASES:
        services = rendered.of_kind(release, "Service")
        for workload in workloads(rendered, release):
            selector = dict(workload["spec"]["selector"]["matchLabels"])
            assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items()
            assert [one for one in services if one["spec"]["selector"] == selector], "its Service"
            assert selector.pop("app.kubernetes.io/instance") == release
            found.setdefault(workload["kind"], set()).add(json.dumps(selector, sort_keys=True))
    assert {kind: len(selectors) for kind, selectors in found.items()} == {"StatefulSet": 1, "Deployment": 1}


@pytest.mark.parametrize("release", RELEASES)
def test_pods_have_no_rights_and_write_only_to_volumes(rendered: Rendered, release: str) -> None:
    for workload in workloads(rendered, release):
        pod = workload["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            claims = {one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", ())}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]} | claims


@pytest.mark.parametrize("release", RELEASES)
def test_programs_accept_the_options_of_their_pods(rendered: Rendered, release: str, tmp_path: Path) -> None:
    (options,) = [
        one for one in rendered.of_kind(release, "ConfigMap") if "prefect-monitoring.yml" in one.get("data", {})
    ]
    file = tmp_path / "prefect-monitoring.yml"
    file.write_text(options["data"][file.name], encoding="utf-8")
    for container in containers(rendered, release):
        assert make_parser().parse_args(container["args"])
        given = {one["name"]: one["value"] for one in container["env"]}
        assert given.pop("PREFECT_MONITORING_CONFIG") == f"/etc/prefect-monitoring/options/{file.name}"
        for secret in SECRETS:  # mounted by Kubernetes
            if path := given.get(name := f"PREFECT_MONITORING_{secret.upper()}_FILE"):
                assert path == f"/etc/prefect-monitoring/secrets/{secret}"
                (tmp_path / secret).write_text("from-a-secret\n")
                given[name] = str(tmp_path / secret)
        settings = load_settings({}, given, file)
        assert settings.act.act is (release == "everything")
        listen = {"exporter": settings.web.listen, "archive": settings.archive.archive_listen}[container["name"]]
        assert listen == f"0.0.0.0:{container['ports'][0]['containerPort']}"


def test_image_is_the_chart_version_a_digest_or_that_of_the_archive(rendered: Rendered) -> None:
    images = {
        (release, container["name"]): container["image"]
        for release in RELEASES
        for container in containers(rendered, release)
    }
    values = yaml.safe_load(RELEASES["everything"].read_text(encoding="utf-8"))
    own = f"registry.example/platform/prefect-monitoring@{values['image']['digest']}"
    assert images == {
        ("minimal", "exporter"): f"prefect-monitoring:{__version__}",
        ("cloud", "exporter"): f"prefect-monitoring:{__version__}",
        ("everything", "exporter"): own,
        ("everything", "archive"): f"registry.example/platform/prefect-monitoring-archive:{__version__}",
    }


def test_each_release_has_its_workspace_as_a_target_label(rendered: Rendered) -> None:
    for release, workspace in (("cloud", "production"), ("everything", "staging")):
        (monitor,) = rendered.of_kind(release, "ServiceMonitor")
        for endpoint in monitor["spec"]["endpoints"]:
            labels = {one["targetLabel"]: one.get("replacement") for one in endpoint["relabelings"]}
            assert (labels["job"], labels["workspace"]) == ("prefect-monitoring", workspace)
