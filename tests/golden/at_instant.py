"""Runs the command line with a clock that stands still: `python at_instant.py EPOCH_SECONDS serve …`.

What is over, late or due is judged by that clock, so that the same server gives the same numbers whenever it is asked.
Timeouts and intervals go by the monotonic clock, which runs.
"""

import runpy
import sys
import time

if __name__ == "__main__":
    now = float(sys.argv.pop(1))
    time.time = lambda: now
    time.time_ns = lambda: int(now * 1e9)
    runpy.run_module("prefect_monitoring", run_name="__main__", alter_sys=True)
