"""What grafana/dashboards/*.json is generated from: one file a dashboard, and what they share. `make dashboards`."""

import warnings

# When imported, the SDK says that it would rather build the new schema; Grafana 10 and 11 do not read that.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    import grafana_foundation_sdk.builders.dashboard
    import grafana_foundation_sdk.models.dashboardv2beta1  # noqa: F401
