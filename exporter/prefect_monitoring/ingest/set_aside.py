"""Sets records aside that cannot be read; they are tried again with growing delays and after a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.model.unreadable import Unreadable, set_aside
from prefect_monitoring.prefect_api.unreadable import Rows, UnreadableRow, collected_in, is_nameless, is_unlisted

log = logging.getLogger(__name__)

TRIED_AT_ONCE: Final = 200
# Everything is compared once an hour: a record that was not seen since is readable, or gone.
NAMELESS_KEPT_SECONDS: Final = 2 * HOUR


@dataclass(frozen=True, slots=True)
class _Met:
    first: float
    last: float


class SetAside:
    """Records that could not be read, by source: records to count are kept in the ledger, others in memory.

    Rows without an id are kept in memory too, because they cannot be requested; the reconciliation reads them again.
    Methods that touch the ledger must run on the ledger's thread.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._reported: dict[str, Rows] = {}
        self._tried: set[tuple[str, str]] = set()  # since the start: the first try after a restart does not wait
        self._met_again: set[tuple[str, str]] = set()
        self._nameless: dict[str, dict[str, _Met]] = {}
        self._listed: dict[str, dict[str, float]] = {}

    @contextmanager
    def reading(self, source: str, cursor: str) -> Iterator[None]:
        """Collects the rows that cannot be read within it; without a `cursor`, those of a list that is not counted."""
        rows = self._reported.setdefault(cursor, {}) if cursor else {}
        with collected_in(rows):
            yield
        if not cursor:
            before, now = self._listed.get(source, {}), self._clock()
            self._listed[source] = {identifier: before.get(identifier, now) for identifier in rows}
            for identifier in rows.keys() - before.keys():
                _warn(source, rows[identifier])

    def since(self, source: str, cursor: str) -> list[float]:
        """When each record of a source that cannot be read now was first seen."""
        if not cursor:
            return list(self._listed.get(source, {}).values())
        lately = self._clock() - NAMELESS_KEPT_SECONDS
        nameless = [met.first for met in self._nameless.get(cursor, {}).values() if met.last >= lately]
        return [one.since for one in self._ledger.unreadable.values() if one.cursor == cursor] + nameless

    def met_nameless(self, cursor: str, since: float) -> bool:
        """Whether rows without an id were seen since then: a record missing in a list may be one of them."""
        return any(met.last >= since for met in self._nameless.get(cursor, {}).values())

    def ids(self, cursor: str, *, uncounted: bool = False) -> set[str]:
        """The ids of a counted source that are set aside; `uncounted`: only those not counted by their row."""
        waiting = [one for one in self._ledger.unreadable.values() if one.cursor == cursor]
        return {one.id for one in waiting if not (uncounted and one.counted)}

    def due(self, cursor: str) -> list[Unreadable]:
        """The records to try again now."""
        now = self._clock()
        waiting = [one for one in self._ledger.unreadable.values() if one.cursor == cursor]
        return [one for one in waiting if one.next_at <= now or (cursor, one.id) not in self._tried][:TRIED_AT_ONCE]

    def store(self) -> None:
        """Sets aside the rows collected since the last call; to be called before the cursor moves past them."""
        fresh = []
        for cursor, rows in list(self._reported.items()):
            while rows:  # concurrent readings may add rows
                identifier, row = rows.popitem()
                if (cursor, identifier) in self._ledger.unreadable:
                    self._met_again.add((cursor, identifier))
                elif not is_nameless(identifier):
                    fresh.append(set_aside(cursor, identifier, self._clock(), counted=False, after=row.after))
                    _warn(cursor, row)
                else:
                    self._meet_nameless(cursor, row)
        self._keep(fresh)

    def _meet_nameless(self, cursor: str, row: UnreadableRow) -> None:
        now, known = self._clock(), self._nameless.setdefault(cursor, {})
        if row.id not in known:
            _warn(cursor, row)
        known[row.id] = _Met(known[row.id].first if row.id in known else now, now)
        self._nameless[cursor] = {key: met for key, met in known.items() if met.last >= now - NAMELESS_KEPT_SECONDS}

    def store_refused(self, cursor: str, refused: Mapping[str, str], after: Mapping[str, float]) -> None:
        """Sets aside runs of which only the row is counted; their states `after` those instants are missing."""
        fresh = []
        for run_id, reason in refused.items():
            if (cursor, run_id) in self._ledger.unreadable:
                self._met_again.add((cursor, run_id))
            else:
                fresh.append(set_aside(cursor, run_id, self._clock(), counted=True, after=after.get(run_id)))
                where = cursor.replace("_", " ")
                log.warning("The states of %s of %s cannot be read, its row is counted: %s", run_id, where, reason)
        self._keep(fresh)

    def settle(self, cursor: str, tried: Collection[Unreadable], read: Collection[str], left: Collection[str]) -> None:
        """Ends a try: `read` are readable now, `left` still unknown; those that failed again stay, others are gone."""
        self.store()
        now = self._clock()
        keys = {(cursor, one.id) for one in tried}
        still = [one.tried(now) for one in tried if (cursor, one.id) in self._met_again]
        known = {(cursor, one) for one in left} | {(one.cursor, one.id) for one in still}
        over = keys - known
        self._tried |= keys
        self._met_again -= keys
        self._ledger.store_unreadable(still, over)
        for _, identifier in sorted(over):
            result = "can be read now" if identifier in read else "is gone"
            log.info("%s of %s %s", identifier, cursor, result)

    def _keep(self, fresh: Collection[Unreadable]) -> None:
        if fresh:
            self._ledger.store_unreadable(fresh, ())
            self._tried |= {(one.cursor, one.id) for one in fresh}


def _warn(source: str, row: UnreadableRow) -> None:
    where = source.replace("_", " ")
    log.warning("%s of %s cannot be read, is set aside and tried again: %s", _shown(row.id), where, row.reason)


def _shown(identifier: str) -> str:
    """The id for the log; an invalid id is not shown, because it may be anything, even a secret."""
    if is_unlisted(identifier):
        return identifier.capitalize()
    return "A row whose id is not valid" if is_nameless(identifier) else identifier
