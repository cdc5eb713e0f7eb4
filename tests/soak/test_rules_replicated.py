"""The promtool tests of the shipped rules, with every series twice: one exporter runs beside its replica."""

from pathlib import Path

import pytest
import yaml

from support.prometheus import promtool

TESTS = Path(__file__).parents[2] / "prometheus/tests"
FILES = sorted(path for path in TESTS.glob("*.yml") if path.stem != "replicas")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_rules_pass_with_two_replicas(path: Path, tmp_path: Path) -> None:
    suite = yaml.safe_load(path.read_text(encoding="utf-8"))
    suite["rule_files"] = [str((path.parent / name).resolve()) for name in suite["rule_files"]]
    for test in suite["tests"]:
        test["input_series"] = [
            {**series, "series": series["series"].removesuffix("}") + f',replica="{replica}"}}'}
            for series in test["input_series"]
            for replica in "12"
        ]
    doubled = tmp_path / path.name
    doubled.write_text(yaml.safe_dump(suite, allow_unicode=True), encoding="utf-8")
    done = promtool("test", "rules", doubled)
    assert done.returncode == 0, done.stdout + done.stderr
