"""Random faults between exporter and server: their names, their frequency, and the requests that they can hit."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from support.proxy import Fault, Seen

_JSON: Final = {"content-type": "application/json"}
_BY_TIME: Final = {"/flow_runs/filter", "/task_runs/filter", "/logs/filter"}
_SLOWEST_SECONDS: Final = 2.0

Dice = random.Random


def _any(_seen: Seen) -> bool:
    return True


def _is_list(seen: Seen) -> bool:
    return seen.path.endswith("/filter") and not seen.path.startswith("/events")


def _is_by_time(seen: Seen) -> bool:
    """Whether the rows hidden from this list appear in a later one.

    Not if they are requested by id: the exporter must take missing ones for deleted.
    """
    return seen.path in _BY_TIME and b'"id"' not in seen.body


def _spoil_a_row(dice: Dice, body: bytes) -> bytes:
    """Replaces a row with one that Prefect would not send; half of these keep their id."""
    rows = json.loads(body)
    if isinstance(rows, list) and rows:
        place = dice.randrange(len(rows))
        kept = {"id": rows[place]["id"]} if dice.random() < 0.5 else {}
        rows[place] = {**kept, "surprise": 1}
    return json.dumps(rows).encode()


def _hide_rows(dice: Dice, body: bytes) -> bytes:
    """Truncates the list."""
    rows = json.loads(body)
    return json.dumps(rows[: dice.randrange(len(rows))] if isinstance(rows, list) and rows else rows).encode()


def _answer(body: str) -> Callable[[Dice], Fault]:
    return lambda _dice: Fault("status", code=200, headers=_JSON, body=body.encode())


@dataclass(frozen=True)
class Trouble:
    """A fault, its relative frequency, and the requests that it can hit."""

    name: str
    weight: int
    make: Callable[[Dice], Fault]
    hits: Callable[[Seen], bool] = _any


TROUBLES: Final = (
    Trouble("500", 3, lambda _: Fault("status", code=500)),
    Trouble("503", 3, lambda _: Fault("status", code=503)),
    Trouble("429", 1, lambda _: Fault("status", code=429, headers={"retry-after": "1"})),
    Trouble("hangs", 1, lambda _: Fault("hang")),
    Trouble("late", 3, lambda dice: Fault("slow", seconds=dice.uniform(0, _SLOWEST_SECONDS))),
    Trouble("no answer", 2, lambda _: Fault("drop")),
    Trouble("half a body", 3, lambda _: Fault("truncate")),
    Trouble("not JSON", 2, _answer('{"not": json')),
    Trouble("an object", 1, _answer("{}")),
    Trouble("rows of another shape", 1, _answer('[{"surprise": 1}]')),
    Trouble("a spoilt row", 4, lambda dice: Fault("alter", change=lambda body: _spoil_a_row(dice, body)), _is_list),
    Trouble("an empty list", 2, _answer("[]"), _is_by_time),
    Trouble("half a list", 2, lambda dice: Fault("alter", change=lambda body: _hide_rows(dice, body)), _is_by_time),
)


@dataclass
class Chaos:
    """Draws a fault for a `share` of all requests, for `FaultProxy.at_random`. `drawn` counts them by name."""

    dice: Dice
    share: float
    drawn: Counter[str] = field(default_factory=Counter)

    def __call__(self, seen: Seen) -> Fault | None:
        if self.dice.random() >= self.share:
            return None
        possible = [trouble for trouble in TROUBLES if trouble.hits(seen)]
        (trouble,) = self.dice.choices(possible, [one.weight for one in possible])
        self.drawn[trouble.name] += 1
        return trouble.make(self.dice)
