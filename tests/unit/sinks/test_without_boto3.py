"""A base install has no boto3; only pushing needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys

sys.modules["boto3"] = sys.modules["botocore"] = None  # importing them raises ImportError
from prefect_monitoring.commands import automations, check, cloudwatch, serve
from prefect_monitoring.sinks.aws_errors import reason_of
from prefect_monitoring.flows.aws import make_client

try:
    make_client("cloudwatch")
except ImportError as error:
    assert reason_of(error) == "configuration", reason_of(error)
else:
    raise AssertionError
"""


@pytest.mark.slow
def test_every_command_is_imported_without_boto3() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
