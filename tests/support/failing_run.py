"""The process of a run that starts and fails: it reports the engine's states with a twentieth of its CPU time."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

PATIENCE = 60.0  # the engine's client outlives a server that is killed and started again


def report(state_type: str, message: str) -> None:
    url = f"{os.environ['PREFECT_API_URL']}/flow_runs/{os.environ['PREFECT__FLOW_RUN_ID']}/set_state"
    body = json.dumps({"state": {"type": state_type, "message": message}, "force": False}).encode()
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                sys.exit(1)
            time.sleep(0.2)


if __name__ == "__main__":
    report("RUNNING", "")
    report("FAILED", "ConnectionError: connection refused by the warehouse")
