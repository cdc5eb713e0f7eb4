"""Generates the reference pages from the code: `python -m scripts.generate_reference docs`. A test compares them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from prefect_monitoring.config.settings import (
    CONFIG_ENV,
    GROUPS,
    OPTIONS,
    Group,
    default_of,
    env_name,
    flag_name,
    notation_of,
)
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from scripts.archive_page import archive_schema_page
from scripts.metrics_page import metrics_page

_CONFIGURATION: Final = """# Configuration

<!-- Generated from exporter/prefect_monitoring/config/settings.py by `make docs`. -->

```yaml
# prefect-monitoring.yml, given with --config or in {config_env}
poll_interval: 15s
ledger_url: sqlite:////var/lib/prefect-monitoring/ledger.db
exclude_flows: ["test-.*", "scratch-.*"]
failure_causes:
  - cause: quota
    pattern: warehouse credit limit
```

Every option is a key of that file, an environment variable and, except secrets, a flag. Flags override the environment,
which overrides the file. Unknown options are errors.

The connection uses Prefect's own settings: `PREFECT_API_URL` (required), `PREFECT_API_KEY`, `PREFECT_API_AUTH_STRING`,
`PREFECT_API_SSL_CERT_FILE`, `PREFECT_API_TLS_INSECURE_SKIP_VERIFY`, `PREFECT_CLIENT_CUSTOM_HEADERS`,
`PREFECT_API_REQUEST_TIMEOUT`, and profiles (`PREFECT_PROFILE`). `PREFECT_API_KEY_FILE` and
`PREFECT_API_AUTH_STRING_FILE` name files that hold the secret.

- **Durations**: `30s`, `15m`, `8d`, `1h30m`.
- **Patterns**: regular expressions that match a whole name, separated by commas in flags and variables. Write a pattern
  with a comma into the file, as a list. `^$` matches runs without a deployment, or outside of pools.
- **Buckets**: ascending numbers of seconds. After a change, the histogram starts anew.
- **Secrets** have no flag, because other users can read command lines. `…_file` names a file that holds the secret. A
  secret that is given twice or is empty is an error. `ledger_url` is a secret when it holds a password.
"""


def configuration_page() -> str:
    return _CONFIGURATION.format(config_env=CONFIG_ENV) + "".join(_group_section(group) for group in GROUPS.values())


def _group_section(group: type[Group]) -> str:
    rows = [_option_row(name) for name in group.model_fields]
    head = "| Key | Flag, variable | Default | Meaning |\n| --- | --- | --- | --- |\n"
    about = f"{_linked(group.__doc__)}\n\n" if group.__doc__ and "docs/" in group.__doc__ else ""
    return f"\n## {group.model_config.get('title')}\n\n{about}{head}{''.join(rows)}"


def _option_row(name: str) -> str:
    notation = notation_of(name)
    flag = f"`{flag_name(name)} {notation.metavar}`<br>" if notation.has_flag else ""
    default = f"`{default_of(name)}`" if default_of(name) else ""
    cells = f"`{name}`", f"{flag}`{env_name(name)}`", default, _linked(OPTIONS[name].description or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _linked(text: str) -> str:
    """`text` with links to the pages that it names."""
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", text)


def pipelines_schema() -> str:
    """The JSON schema of a pipelines file, for completion and checks in editors."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **PipelinesFile.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


PAGES: Final = {
    "archive-schema.md": archive_schema_page,
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "pipelines.schema.json": pipelines_schema,
}


def main() -> None:
    folder = Path(sys.argv[1])
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
