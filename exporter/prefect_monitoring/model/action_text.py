"""Actions in words: for the log, the event feed, the status page and the command line."""

from __future__ import annotations

from prefect_monitoring.model.actions import Action, Kind


def describe(action: Action) -> str:
    """An action in one line: what was done, for which pipeline and run, the result and the reason."""
    pipeline = (
        f"{action.pipeline.flow}/{action.pipeline.deployment}" if action.pipeline.deployment else action.pipeline.flow
    )
    about = {
        Kind.RETRY: f"retry {action.attempt} of {action.allowed} of {pipeline} ({action.run_name})",
        Kind.PAUSE: f"pause {action.target_name}, because {pipeline} failed ({action.run_name}, {action.cause})",
        Kind.RESUME: f"resume {action.target_name}, because {pipeline} completed",
        Kind.SCALE_UP: f"raise the limit of {action.target_name} from {action.before} to {action.after} for {pipeline}",
        Kind.SCALE_DOWN: f"restore the limit of {action.target_name} from {action.before} to {action.after}",
        Kind.SKIP: f"skip {action.run_name} of {pipeline}, which is late",
        Kind.MARK_CRASHED: f"mark {action.run_name} of {pipeline} Crashed, which sends no heartbeats",
    }
    reason = f" ({action.reason})" if action.reason else ""
    return f"{about[action.kind]}: {action.result}{reason}"
