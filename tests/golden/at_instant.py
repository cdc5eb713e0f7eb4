"""Runs the command line with a frozen clock: `python at_instant.py EPOCH_SECONDS serve …`.

Ages, lateness and due times follow that clock, so that the same server always gives the same numbers.
Timeouts and intervals use the monotonic clock, which runs.
"""

import runpy
import sys
import time

if __name__ == "__main__":
    now = float(sys.argv.pop(1))
    time.time = lambda: now
    time.time_ns = lambda: int(now * 1e9)
    runpy.run_module("prefect_monitoring", run_name="__main__", alter_sys=True)
