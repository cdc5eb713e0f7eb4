"""Messages to Slack from hooks and from flows, over prefect-slack's webhook block.

Slack never fails a run: errors are logged. It delays a run by at most `MAX_SECONDS`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from prefect_monitoring.flows.run_context import hook_logger, is_task_run, run_logger, ui_url
from prefect_monitoring.flows.slack_message import Block, Kind, RunFacts, run_message, text_message

if TYPE_CHECKING:
    from prefect_slack import SlackWebhook

    from prefect_monitoring.flows.run_context import Logger

MAX_SECONDS: Final = 5.0
_REASON: Final = re.compile(r"[a-z_]{1,50}")

Hook = Callable[[Any, Any, Any], None]
"""Called by Prefect with the flow or task, its run and its state."""


class _Reply(Protocol):
    @property
    def status_code(self) -> int: ...
    @property
    def body(self) -> str: ...


def slack_failure(block: str | SlackWebhook) -> Hook:
    """A hook for `on_failure=` of flows and tasks. `block`: a `SlackWebhook` block, or its name.

    Raises ImportError at once if prefect-slack is not installed.
    """
    return _hook("failure", block)


def slack_success(block: str | SlackWebhook) -> Hook:
    """The same for `on_completion=`."""
    return _hook("success", block)


def slack_crashed(block: str | SlackWebhook) -> Hook:
    """The same for `on_crashed=`. A process that is killed runs no hook: only its worker or runner does."""
    return _hook("crashed", block)


def notify_slack(block: str | SlackWebhook, text: str, blocks: Sequence[Block] | None = None) -> bool:
    """Sends `text` (mrkdwn) and, if given, Block Kit `blocks`; whether Slack accepted it within `MAX_SECONDS`.

    Credentials, tokens and e-mail addresses in `text` are replaced by `***`; `blocks` are sent as they are.
    Raises ImportError if prefect-slack is not installed, and nothing else.
    """
    require_prefect_slack()
    return _send(run_logger(), block, *text_message(text, blocks))


def _hook(kind: Kind, block: str | SlackWebhook) -> Hook:
    require_prefect_slack()

    # The parameters' names are Prefect's: a runner that calls hooks for a dead process passes keywords.
    def hook(flow: Any, flow_run: Any, state: Any) -> None:
        try:
            message = run_message(kind, _facts(flow, flow_run, state))
        except Exception:  # noqa: BLE001 a message that cannot be written must not fail the run
            run_logger().warning("No Slack message: the run could not be described", exc_info=True)
            return
        _send(hook_logger(flow, flow_run), block, *message)

    hook.__name__ = hook.__qualname__ = f"slack_{kind}"  # which Prefect's log shows
    return hook


def require_prefect_slack() -> None:
    """Raises ImportError, which says what to install, if prefect-slack is missing."""
    try:
        import prefect_slack  # noqa: F401
    except ImportError:
        raise ImportError(
            "Slack messages need prefect-slack where the flow runs: pip install 'prefect-monitoring[slack]'"
        ) from None


def _facts(subject: Any, run: Any, state: Any) -> RunFacts:
    """`subject` is a Flow or a Task, `run` its FlowRun or TaskRun, `state` the final State."""
    is_task = is_task_run(run)
    base = ui_url()
    began = run.start_time
    ended = state.timestamp if state is not None else None
    return RunFacts(
        subject="Task" if is_task else "Flow",
        name=str(subject.name),
        run_name=str(run.name),
        status=str(state.name) if state is not None else "unknown",
        seconds=max((ended - began).total_seconds(), 0.0) if began is not None and ended is not None else None,
        error=str(state.message or "") if state is not None else "",
        url=f"{base}/runs/{'task-run' if is_task else 'flow-run'}/{run.id}" if base else "",
    )


def _send(logger: Logger, block: str | SlackWebhook, text: str, blocks: list[Block] | None) -> bool:
    """Sends in a thread that is left behind when Slack, or the server that holds the block, does not answer."""
    outcome: list[str] = []
    work = partial(_deliver, block, text, blocks, outcome)
    thread = threading.Thread(target=copy_context().run, args=(work,), name="slack", daemon=True)
    thread.start()
    thread.join(MAX_SECONDS)
    fault = outcome[0] if outcome else f"no answer within {MAX_SECONDS:g} s"
    if fault:
        logger.warning("The Slack message was not sent: %s", fault)
    return not fault


def _deliver(block: str | SlackWebhook, text: str, blocks: list[Block] | None, outcome: list[str]) -> None:
    """Appends "" if Slack accepted the message, else the reason, without the webhook's URL, which is a secret."""
    from prefect_slack import SlackWebhook

    try:
        webhook = SlackWebhook.load(block, _sync=True) if isinstance(block, str) else block
    except Exception as error:  # noqa: BLE001 anything from a missing block to a dead server
        outcome.append(f"the block {block!r} could not be loaded ({type(error).__name__}); see `prefect block ls`")
        return
    try:
        client = webhook.get_client(sync_client=True)
        client.timeout = int(MAX_SECONDS)
        reply: _Reply = client.send(text=text, blocks=blocks)
    except Exception as error:  # noqa: BLE001 any network error
        outcome.append(f"Slack could not be reached ({type(error).__name__})")
        return
    is_accepted = reply.status_code < 300  # noqa: PLR2004 HTTP's classes
    # Slack's faults are words such as no_service; what a proxy answers may repeat the webhook's URL.
    reason = reply.body if _REASON.fullmatch(reply.body) else ""
    outcome.append("" if is_accepted else f"Slack answered {reply.status_code} {reason}".rstrip())
