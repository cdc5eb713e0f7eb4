"""The source of grafana/dashboards/*.json: one file per dashboard, and shared parts. `make dashboards`."""

import warnings

# On import, the SDK warns that the new schema is preferred; Grafana 10 and 11 do not read it.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.models.dashboardv2beta1  # noqa: F401
