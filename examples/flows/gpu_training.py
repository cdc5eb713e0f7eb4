"""Would train a model, if its work pool had a worker.

What it shows: late runs. The schedule goes on, nobody takes the runs, and they wait as Late.
"""

from prefect import flow


@flow(name="gpu-training")
def gpu_training() -> None:
    pass
