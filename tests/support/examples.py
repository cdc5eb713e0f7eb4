"""How many stories the state machines try: all of them in `make test`, a quarter in `make test-fast`."""

import os


def examples(number: int) -> int:
    return number // 4 if os.environ.get("FEW_EXAMPLES") else number
