"""How the past gets to where the live series will be."""

from __future__ import annotations

from prefect_monitoring.backfill.output import Output
from prefect_monitoring.model.units import DAY

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
