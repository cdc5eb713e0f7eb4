"""The page docs/archive-schema.md: columns of the archive's tables, and their DDL for each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import pyarrow as pa

from prefect_monitoring.archive.schema import RUNS, SCHEMA_VERSION, STATES, TABLES, Column

LATEST_RUNS: Final = """\
CREATE VIEW latest_runs AS
SELECT * FROM (
  SELECT *, row_number() OVER (PARTITION BY id ORDER BY version DESC, archived_at DESC, batch DESC) AS newest
  FROM runs
) AS ranked
WHERE newest = 1;
"""
_OF_LATEST: Final = """\
CREATE VIEW latest_{table} AS
SELECT {table}.* FROM {table}
JOIN latest_runs ON latest_runs.id = {table}.flow_run_id
  AND latest_runs.batch = {table}.batch AND latest_runs.dt = {table}.dt;
"""
VIEWS: Final = "\n".join([LATEST_RUNS, *(_OF_LATEST.format(table=table) for table in ("task_runs", "logs"))])
SUCCESS: Final = """\
SELECT flow, coalesce(deployment, '') AS deployment,
  count(*) AS runs,
  avg(CASE WHEN state_type = 'COMPLETED' THEN 1.0 ELSE 0.0 END) AS success_ratio
FROM latest_runs
WHERE state_type IN ('COMPLETED', 'FAILED', 'CRASHED')
  AND end_time >= date_trunc('hour', current_timestamp) - INTERVAL '719' HOUR
GROUP BY flow, coalesce(deployment, '')
ORDER BY success_ratio, flow, deployment;
"""
_KINDS: Final[Mapping[str, str]] = {
    "string": "string",
    "int32": "int",
    "int64": "bigint",
    "double": "double",
    "bool": "boolean",
    "timestamp[us, tz=UTC]": "timestamp",
}
_TRINO: Final[Mapping[str, str]] = {"string": "varchar", "int": "integer", "timestamp": "timestamp(6)"}

_PAGE: Final = """# Tables of the archive

<!-- Generated from exporter/prefect_monitoring/archive/schema.py by `make docs`. -->

Columns, DDL and views of the [archive](archive.md). This is schema version {version} (column `schema_version` of
`runs`; file metadata `prefect_monitoring.schema_version`). Within a version, columns are only added. Timestamps are in
UTC with microseconds. Every table is partitioned by `dt`, the date on which the flow run ended.

{tables}
## Register the tables

Replace `s3://BUCKET/PREFIX` in each block.

### DuckDB

```sql
{duckdb}```

### Athena

Partition projection finds new days.

```sql
{athena}```

### Trino (Hive connector)

```sql
{trino}
CALL system.sync_partition_metadata('default', 'runs', 'ADD'); -- once a day, for each table
```

### Spark

```sql
{spark}
REFRESH TABLE runs; -- in a session that outlives a day
```

## Views

The same in every engine. Query these, not the tables, which also hold older versions of runs and files of
interrupted batches.

```sql
{views}```

A condition on `dt` limits what a query on `latest_logs` or `latest_task_runs` reads, but not on `latest_runs`, which
is small.

## Success rate of the last 30 days

```sql
{success}```

Like the window `30d` of `prefect_flow_run_window_runs`, it covers the current hour and the 719 before it.
"""


def archive_schema_page() -> str:
    return _PAGE.format(
        version=SCHEMA_VERSION,
        tables="\n".join(map(_table, TABLES)),
        duckdb=duckdb_tables("s3://BUCKET/PREFIX"),
        athena="\n".join(_athena(table) for table in TABLES),
        trino="\n".join(_trino(table) for table in TABLES),
        spark=spark_tables("s3://BUCKET/PREFIX"),
        views=VIEWS,
        success=SUCCESS,
    )


def duckdb_tables(address: str) -> str:
    return "".join(
        f"CREATE VIEW {table} AS\n"
        f"SELECT * FROM read_parquet('{address}/{table}/dt=*/*.parquet',\n"
        "  hive_partitioning = true, union_by_name = true);\n"
        for table in TABLES
    )


def spark_tables(address: str) -> str:
    return "".join(
        f"CREATE TEMPORARY VIEW {table} USING parquet OPTIONS (path '{address}/{table}', mergeSchema 'true');\n"
        for table in TABLES
    )


def _table(table: str) -> str:
    """The columns that need an explanation, and the names of the others; the statements below have the types."""
    explained = [column for column in TABLES[table] if column.meaning]
    same = [column for column in explained if table != RUNS and column in TABLES[RUNS]]
    rows = [f"| `{column.name}` | {column.meaning} |\n" for column in explained if column not in same]
    text = f"## `{table}`\n\n| Column | Meaning |\n| --- | --- |\n{''.join(rows)}\n"
    if same:
        text += f"As in `{RUNS}`: {_names(same)}.\n"
    return text + f"Other columns: {_names(column for column in TABLES[table] if not column.meaning)}.\n"


def _names(columns: Iterable[Column]) -> str:
    return ", ".join(f"`{column.name}`" for column in columns)


def _athena(table: str) -> str:
    return (
        f"CREATE EXTERNAL TABLE {table} (\n{_columns(table, lambda kind: kind)}\n)\n"
        f"PARTITIONED BY (dt string)\nSTORED AS PARQUET\nLOCATION 's3://BUCKET/PREFIX/{table}/'\n"
        "TBLPROPERTIES (\n"
        "  'projection.enabled' = 'true',\n"
        "  'projection.dt.type' = 'date',\n"
        "  'projection.dt.format' = 'yyyy-MM-dd',\n"
        "  'projection.dt.range' = '2024-01-01,NOW'\n"
        ");\n"
    )


def _trino(table: str) -> str:
    return (
        f"CREATE TABLE {table} (\n{_columns(table, _as_trino)},\n  dt varchar\n)\n"
        f"WITH (external_location = 's3://BUCKET/PREFIX/{table}/', format = 'PARQUET', partitioned_by = ARRAY['dt']);\n"
    )


def _columns(table: str, spell: Callable[[str], str]) -> str:
    return ",\n".join(f"  {column.name} {spell(kind_of(column.type))}" for column in TABLES[table])


def kind_of(kind: pa.DataType) -> str:
    """A type as Hive writes it."""
    if pa.types.is_list(kind):
        return f"array<{kind_of(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{field.name}:{kind_of(field.type)}' for field in kind)}>"
    return _KINDS[str(kind)]


def _as_trino(kind: str) -> str:
    if kind == kind_of(STATES):
        fields = (f'"{one.name}" {_as_trino(kind_of(one.type))}' for one in STATES.value_type)
        return f"array(row({', '.join(fields)}))"
    return "array(varchar)" if kind.startswith("array") else _TRINO.get(kind, kind)
