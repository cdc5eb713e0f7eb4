"""Capabilities of the installed Prefect; only `make test-oldest` runs on one that lacks some."""

import prefect
from packaging.version import Version

_PREFECT = Version(prefect.__version__)
# Before, a run that ended without having started got neither an end nor an early start, so a forced retry hid that
# end. Work pools did not report their used slots, and deployments became ready only later.
DATES_ENDS_BEFORE_THE_START = Version("3.6.0") <= _PREFECT
# Before, they could neither be filtered nor counted by their end.
COUNTS_TASK_RUNS_BY_END = Version("3.6.22") <= _PREFECT
