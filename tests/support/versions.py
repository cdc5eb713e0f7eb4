"""What the Prefect that the tests run on can do; all of it, but for `make test-oldest`."""

import prefect
from packaging.version import Version

_PREFECT = Version(prefect.__version__)
# Before, a run that ended without having started got neither an end nor an early start: forced into a retry, nothing
# tells of that end. Work pools did not tell how many slots are taken, nor deployments at once that they are ready.
DATES_ENDS_BEFORE_THE_START = Version("3.6.0") <= _PREFECT
# Before, they can neither be chosen nor counted by their end.
COUNTS_TASK_RUNS_BY_END = Version("3.6.22") <= _PREFECT
