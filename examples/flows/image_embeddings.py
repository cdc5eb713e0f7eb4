"""Fills the memory until the kernel ends it.

What it shows: a crash. The process cannot report anything any more; the worker finds it dead and the run becomes
Crashed, while its task run stays Running for ever.
"""

import os
import signal
from time import sleep

from prefect import flow, task


@task
def embed() -> None:
    sleep(2)
    # What the kernel's out-of-memory killer does, without first taking your memory.
    os.kill(os.getpid(), signal.SIGKILL)


@flow(name="image-embeddings")
def image_embeddings() -> None:
    embed()
