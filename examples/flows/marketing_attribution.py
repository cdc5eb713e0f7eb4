"""Collects spend, then attributes it channel by channel in a flow of its own.

What it shows: a subflow. The child is a flow run too, without a deployment, and its parent waits for it.
"""

from random import randint
from time import sleep

from prefect import flow, get_run_logger, task


@task
def collect_spend() -> int:
    sleep(6)
    return randint(1_000, 2_000)


@task
def attribute(channel: str, spend: int) -> None:
    sleep(0.5)
    get_run_logger().info('METRIC: attributed_spend{channel="%s"}=%d', channel, spend)


@flow(name="channel-attribution")
def channel_attribution(spend: int) -> None:
    for channel, share in (("search", 0.6), ("social", 0.4)):
        attribute(channel, int(spend * share))


@flow(name="marketing-attribution")
def marketing_attribution() -> None:
    channel_attribution(collect_spend())
