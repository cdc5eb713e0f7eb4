"""The policies in force. The pipelines file is read at each poll; while it is broken, the last good one is used."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from prefect_monitoring.config.settings import LabelSettings, PolicySettings, SettingsError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.model.source_status import FileStatus
from prefect_monitoring.policy.pipelines_file import PipelinesError, PipelinesFile, parse_pipelines, read_pipelines
from prefect_monitoring.policy.resolve import Policies, Policy
from prefect_monitoring.policy.tags import shown_tags

log = logging.getLogger(__name__)


class PolicyReloader:
    """The last good pipelines file, stored in the ledger too, so that it survives a restart with a broken file.

    `current` are the policies by pipeline; `status` is None without a file.
    """

    def __init__(self, settings: PolicySettings, labels: LabelSettings, ledger: Ledger, now: float) -> None:
        """Raises SettingsError if the file is broken and no version of it was ever good."""
        self.current: Mapping[Pipeline, Policy] = {}
        self.status: FileStatus | None = None
        self._path = Path(settings.pipelines) if settings.pipelines else None
        self._patterns = [re.compile(pattern, re.DOTALL) for pattern in labels.deployment_tags]
        self._max_tags = labels.max_tags
        self._ledger = ledger
        self._causes = labels.known_causes
        self._policies = Policies(PipelinesFile())
        self._good: str | None = None
        self._fault = ""
        if self._path is not None:
            self._restore()
            self._read(self._path, now)
            if self._fault and self._good is None:
                raise SettingsError(self._fault)

    def renew(self, live: Mapping[Pipeline, Deployment], pipelines: Iterable[Pipeline], now: float) -> None:
        """Reads the file again and resolves `pipelines`. Raises LedgerError if the file cannot be stored."""
        if self._path is not None:
            self._read(self._path, now)
        resolved = ((pipeline, self._policies.of(pipeline, self._tags(live.get(pipeline)))) for pipeline in pipelines)
        self.current = {pipeline: policy for pipeline, policy in resolved if policy is not None}
        if self._good is not None and self._good != self._ledger.pipelines_file:
            self._ledger.store_pipelines_file(self._good)

    def _tags(self, deployment: Deployment | None) -> tuple[str, ...]:
        return shown_tags(deployment.tags, self._patterns, self._max_tags) if deployment else ()

    def _restore(self) -> None:
        if self._ledger.pipelines_file is not None:
            with suppress(PipelinesError):  # of another version, with other keys
                self._policies = Policies(parse_pipelines(self._ledger.pipelines_file, "ledger", self._causes))
                self._good = self._ledger.pipelines_file

    def _read(self, path: Path, now: float) -> None:
        """Applies the file if it is valid; otherwise logs its faults once."""
        try:
            text = read_pipelines(path)
            if text != self._good:
                self._policies = Policies(parse_pipelines(text, str(path), self._causes))
                log.info("Applied the declarations of %s", path)
        except PipelinesError as fault:
            if self._good is not None and str(fault) != self._fault:
                log.warning("The last good pipelines file stays in force:\n%s", fault)
            self._fault = str(fault)
            self.status = FileStatus(valid=False, last_success=self.status.last_success if self.status else None)
        else:
            self._good, self._fault = text, ""
            self.status = FileStatus(valid=True, last_success=now)
