"""The examples of docs/custom-metrics.md are valid, and its tables list every key."""

import re
from pathlib import Path

import pytest

from prefect_monitoring.config.assets import AssetRule
from prefect_monitoring.config.custom_metrics import CustomMetric, Source
from prefect_monitoring.config.loading import load_settings

PAGE = (Path(__file__).parents[2] / "docs/custom-metrics.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(tmp_path: Path, example: str) -> None:
    file = tmp_path / "prefect-monitoring.yml"
    file.write_text(example)
    assert load_settings({}, {}, file).metrics.custom_metrics


def test_tables_list_every_key() -> None:
    assert EXAMPLES
    for key in {**CustomMetric.model_fields, **AssetRule.model_fields}:
        assert f"| `{key}` |" in PAGE, key
    for key in Source.model_fields:
        assert f"`{key}" in PAGE, key
