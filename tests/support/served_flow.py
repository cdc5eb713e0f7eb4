"""A served deployment whose run kills its process, so that its hook runs in the serving process."""

import os
import signal
import sys

from prefect import flow

from prefect_monitoring.flows import archive_logs, slack_crashed

NAME = os.environ["SERVED_FLOW"]
BLOCK = os.environ["SERVED_BLOCK"]
ARCHIVE = os.environ["SERVED_ARCHIVE"]


@flow(name=NAME, on_crashed=[slack_crashed(BLOCK), archive_logs(ARCHIVE)])
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(dies.serve("served"))
