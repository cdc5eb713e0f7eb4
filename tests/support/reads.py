"""The endpoints that the exporter may read, each reviewed: none of them changes Prefect."""

READS = frozenset(
    {
        "/admin/version",
        "/automations/filter",
        "/automations/related-to/{resource}",
        "/block_documents/filter",
        "/deployments/filter",
        "/events/count-by/resource",
        "/events/filter",
        "/events/filter/next",
        "/flow_run_states/",
        "/flow_runs/count",
        "/flow_runs/filter",
        "/flows/filter",
        "/logs/filter",
        "/task_run_states/",
        "/task_runs/count",
        "/task_runs/filter",
        "/variables/filter",
        "/v2/concurrency_limits/filter",
        "/work_pools/filter",
        "/work_pools/{name}/queues/filter",
        "/work_pools/{name}/workers/filter",
        "/work_queues/filter",
    }
)
