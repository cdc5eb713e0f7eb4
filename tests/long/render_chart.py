"""Renders the chart with Helm and validates the manifests, in a separate environment: requirements-chart.lock.

Reads {"chart", "releases": {name: values}, "refused": {name: values}, "versions"} as JSON, writes the results.
"""

import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from typing import Any

import helm_python
import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1, v1alpha1

_OPERATOR = {"monitoring.coreos.com/v1": v1, "monitoring.coreos.com/v1alpha1": v1alpha1}


def objects(manifests: dict[str, str]) -> Iterator[dict[str, Any]]:
    for name, text in manifests.items():
        if name.endswith(".yaml"):
            yield from filter(None, yaml.load_all(text, Loader=yaml.CSafeLoader))


def with_each_route(thing: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Nested routes are arbitrary JSON for the schema: yields the object with each of them as the outermost route."""
    yield thing
    routes = list(thing["spec"]["route"].get("routes", ())) if thing["kind"] == "AlertmanagerConfig" else []
    while routes:
        route = routes.pop()
        routes += route.get("routes", ())
        yield thing | {"spec": thing["spec"] | {"route": route}}


def faults(thing: dict[str, Any], versions: list[str]) -> Iterator[str]:
    """The errors of the object by its schema, including unknown fields."""
    name = f"{thing['kind']} {thing['metadata']['name']}"
    try:
        if models := _OPERATOR.get(thing["apiVersion"]):
            known = getattr(models, thing["kind"]).model_validate(thing).model_dump(by_alias=True, exclude_unset=True)
            yield from (f"{name}: unknown field {path}" for path in lost(thing, known, ""))
        else:
            for version in versions:
                kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        yield f"{name}: no schema"
    except (kubernetes_validate.ValidationError, ValueError) as error:
        yield f"{name}: {error}"


def lost(given: Any, known: Any, path: str) -> Iterator[str]:
    """The paths of fields that a model has dropped."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key in known:
                yield from lost(value, known[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(given, list) and isinstance(known, list):
        for number, (one, other) in enumerate(zip(given, known, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")


def refusal(chart: helm_python.Chart, values: dict[str, Any]) -> str:
    try:
        chart.validate_schema(values)
        chart.render(values, name="any", namespace="any")
    except helm_python.HelmError as error:
        return str(error)
    return ""


def main() -> None:
    asked = json.load(sys.stdin)
    path, releases = asked["chart"], asked["releases"]
    with helm_python.Chart.load(path) as chart, tempfile.TemporaryDirectory() as folder:
        manifests = {name: chart.render(values, name=name, namespace="monitoring") for name, values in releases.items()}
        with tarfile.open(chart.save(folder)) as archive:
            packaged = archive.getnames()
        json.dump(
            {
                "lint": {name: helm_python.lint(path, values, strict=True) for name, values in releases.items()},
                "manifests": manifests,
                "faults": [
                    fault
                    for rendered in manifests.values()
                    for given in objects(rendered)
                    for thing in with_each_route(given)
                    for fault in faults(thing, asked["versions"])
                ],
                "refusals": {name: refusal(chart, values) for name, values in asked["refused"].items()},
                "packaged": packaged,
            },
            sys.stdout,
        )


if __name__ == "__main__":
    main()
