"""Values stored for sinks: by sink and key, in order, until forgotten."""

from __future__ import annotations

from prefect_monitoring.ledger.sink_rows import forget_sink, read_sink, write_sink
from unit.ledger_values import NOW
from unit.rig import OpenLedger


def test_sink_values_survive_a_restart_in_key_order(open_it: OpenLedger) -> None:
    ledger = open_it()
    with ledger.transaction() as connection:
        write_sink(connection, "report", {"last": {"week": 9}}, NOW)
        write_sink(connection, "cloudwatch", {"002": [2], "001": [1], "003": None}, NOW)
        write_sink(connection, "cloudwatch", {"001": ["again"]}, NOW)
    ledger.close()
    with open_it().transaction() as connection:
        assert list(read_sink(connection, "cloudwatch").items()) == [("001", ["again"]), ("002", [2]), ("003", None)]
        assert read_sink(connection, "cloudwatch", "002", "003") == {"002": [2]}
        assert read_sink(connection, "report") == {"last": {"week": 9}}


def test_forget_removes_values_of_that_sink_only(open_it: OpenLedger) -> None:
    with open_it().transaction() as connection:
        for sink in ("cloudwatch", "report"):
            write_sink(connection, sink, {str(number): number for number in range(1000)}, NOW)
        forget_sink(connection, "cloudwatch", [str(number) for number in range(999)])
        assert read_sink(connection, "cloudwatch") == {"999": 999}
        assert len(read_sink(connection, "report")) == 1000


def test_empty_write_or_forget_executes_no_statement(open_it: OpenLedger) -> None:
    with open_it().transaction() as connection:
        write_sink(connection, "cloudwatch", {}, NOW)
        forget_sink(connection, "cloudwatch", [])
        assert read_sink(connection, "cloudwatch") == {}
