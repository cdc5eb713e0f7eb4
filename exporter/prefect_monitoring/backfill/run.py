"""`prefect-monitoring backfill`, from the first request to the blocks, with a report of each step."""

from __future__ import annotations

import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from prefect_monitoring.analysis.durations import format_duration
from prefect_monitoring.backfill.export import Past
from prefect_monitoring.backfill.loading import load, missing
from prefect_monitoring.backfill.openmetrics import History, cost
from prefect_monitoring.backfill.options import Options
from prefect_monitoring.backfill.output_folder import Output, OutputError, open_output
from prefect_monitoring.backfill.progress import bars
from prefect_monitoring.backfill.tsdb_blocks import find_promtool
from prefect_monitoring.config.settings import MetricSettings, Settings
from prefect_monitoring.ingest.sources import Readers, lookbacks, make_readers
from prefect_monitoring.ledger.backfill_journal import Plan
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import ledger_of
from prefect_monitoring.model.units import DAY, HOUR
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.client import Traffic, open_http

# Prometheus keeps the newest hours in memory, and blocks must not overlap them.
BEHIND_SECONDS: Final = 3 * HOUR
# High, because a day's block has few samples per series and is mostly index.
_TSDB_BYTES_A_SAMPLE: Final = 10

Report = Callable[[str], None]


async def backfill(settings: Settings, options: Options, report: Report) -> None:
    """Loads, writes, makes blocks and checks them; continues an interrupted backfill.

    Raises NoApiUrlError, LedgerError, ApiError, OutputError or BlocksError.
    """
    address = api_address()
    history = settings.history.model_copy(update={"lookback": options.since, "task_lookback": options.since})
    ledger = ledger_of(settings.ledger, settings.metrics, address, lookbacks(history))
    traffic = Traffic()
    async with open_http(traffic, settings.poll.max_requests_per_second) as http:
        readers = make_readers(settings, ledger, http)
        try:
            await readers.flow_runs.in_ledger(_begin, ledger, options)
            output = open_output(options.output, options.step, options.target)
            report(f"Reading what {address} still holds of the last {format_duration(options.since)}")
            await _load(readers, traffic, report)
            promtool = find_promtool()
            await _write(readers, settings.metrics, output, promtool, report)
            report(how_to_move(output, since=options.since, made_blocks=promtool is not None))
        finally:
            readers.flow_runs.close()


def _begin(ledger: Ledger, options: Options) -> None:
    plan = ledger.plan
    if plan is None and (ledger.series or any(cursor.baseline_complete for cursor in ledger.cursors.values())):
        raise LedgerError(
            f"The ledger {ledger.name} already serves: its counters began at what they counted then, and a past put"
            " before them would be counted twice where the two meet. For a past, begin anew: stop `serve`, give"
            " --ledger-url a new file, run backfill, and serve from that"
        )
    if plan is not None and (plan.since, plan.step) != (options.since, options.step):
        begun = f"--since {format_duration(plan.since)} --step {format_duration(plan.step)}"
        raise LedgerError(f"The backfill of {ledger.name} was begun with {begun}: repeat these")
    ledger.store_plan(plan or Plan(options.since, options.step))


async def _load(readers: Readers, traffic: Traffic, report: Report) -> None:
    ledger = readers.flow_runs.ledger
    begun = time.monotonic()
    with bars() as progress:
        await load(readers, progress)
    lost = await missing(readers)
    if ledger.plan is not None:
        await readers.flow_runs.in_ledger(ledger.store_plan, replace(ledger.plan, loaded=True))
    requests = sum(traffic.requests.values())
    report(f"Loaded in {time.monotonic() - begun:.0f} s with {requests:,} requests; {lost} runs are missing")


async def _write(
    readers: Readers, settings: MetricSettings, output: Output, promtool: str | None, report: Report
) -> None:
    """Writes and makes blocks day by day, so that it can be interrupted between days."""
    in_ledger = readers.flow_runs.in_ledger
    output.end = output.end or int((time.time() - BEHIND_SECONDS) // output.step * output.step)
    past = await in_ledger(Past, readers.flow_runs.ledger, settings, output)
    days = past.history.days
    _report_cost(past.history, output, report, blocks=promtool is not None)
    begun = time.monotonic()
    with bars() as progress:
        for done, day in enumerate(days, 1):
            await in_ledger(past.write_day, day)
            progress("writing", done, len(days))
    report(f"Wrote {output.texts} in {time.monotonic() - begun:.0f} s")
    await in_ledger(past.join)
    if promtool is None:
        report("promtool is not on PATH: no blocks were made. Install Prometheus' tools and run the same command again")
    else:
        await _make_blocks(in_ledger, past, promtool, report)


async def _make_blocks(in_ledger: Callable[..., Awaitable[Any]], past: Past, promtool: str, report: Report) -> None:
    begun, size = time.monotonic(), 0
    days = past.history.days
    with bars() as progress:
        for done, day in enumerate(days, 1):
            size += sum(block.bytes for block in await in_ledger(past.make_blocks, promtool, day))
            progress("blocks", done, len(days))
    await in_ledger(past.check_last_values, promtool)
    report(
        f"Made the blocks of {len(days)} days ({_megabytes(size)}) in {time.monotonic() - begun:.0f} s; their range,"
        " series, samples and last values are those of the ledger"
    )


def _report_cost(history: History, output: Output, report: Report, *, blocks: bool) -> None:
    """Reports the size of the output. Raises OutputError where the disk has no room for it."""
    if not history.days:
        raise OutputError("Prefect holds nothing that ended more than three hours ago: there is no past to write")
    size = cost(history)
    needed = size.bytes + (size.samples * _TSDB_BYTES_A_SAMPLE if blocks else 0)
    first, last = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M") for at in (history.days[0], history.end))
    report(
        f"To write: up to {size.series:,} series, {size.samples:,} samples from {first} to {last} UTC, on a grid"
        f" of {format_duration(history.step)}: {_megabytes(size.bytes)} of text"
        + (f" and about {_megabytes(needed - size.bytes)} of blocks" if blocks else "")
    )
    free = shutil.disk_usage(output.folder).free
    if not output.written and needed > free:
        raise OutputError(
            f"{output.folder} has room for {_megabytes(free)}, of {_megabytes(needed)}: give another folder with"
            " --output, a coarser grid with --step, or less with --since"
        )


def _megabytes(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


_BLOCKS = """\
Before `serve` is scraped, move the blocks to where the live series will go (docs/backfill.md has the details):
  Prometheus       let it keep them (--storage.tsdb.retention.time of {days:.0f}d or more), then, as its user:
                   mv {blocks}/* DATA_DIRECTORY/    (the one of --storage.tsdb.path; seen within a minute)
  Mimir            mimirtool backfill --address=… --id=TENANT {blocks}/*
  Thanos           thanos tools bucket upload-blocks --path={blocks} --objstore.config-file=… --label='…="…"'
  VictoriaMetrics  vmctl prometheus --prom-snapshot={blocks} --vm-addr=…
Each of these must show the labels {labels} on the live target as well, or the two will not join."""
_TEXT = """\
The past is in {texts}, a file for each day. Where promtool is, run the same command again: it makes blocks of them."""
_SERVE = "Then start `prefect-monitoring serve` with the same ledger: its counters go on where the past ends."


def how_to_move(output: Output, *, since: float, made_blocks: bool) -> str:
    labels = ", ".join(f'{name}="{value}"' for name, value in output.target.items())
    text = _BLOCKS if made_blocks else _TEXT
    filled = text.format(blocks=output.blocks, texts=output.texts, days=since / DAY + 15, labels=labels)
    return f"{filled}\n{_SERVE}"
