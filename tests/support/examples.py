"""The number of examples of state machine tests: EXAMPLES times as many as usual, 20 times in `make test-soak`."""

import os


def examples(usual: int) -> int:
    return max(1, int(usual * float(os.environ.get("EXAMPLES", "1"))))
