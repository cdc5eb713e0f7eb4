"""A flow that waits, whose process a test kills."""

import sys
import time

from prefect import flow


def wait() -> None:
    time.sleep(900)


if __name__ == "__main__":
    flow(name=sys.argv[1])(wait)()
