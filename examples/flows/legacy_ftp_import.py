"""An import from a server that is never there.

What it shows: a flow that always fails, so consecutive failures grow, the last success is missing and the failure's
cause is "connection".
"""

from prefect import flow, task


@task
def download() -> None:
    raise ConnectionRefusedError("[Errno 111] Connection refused: ftp.legacy.example:21")


@flow(name="legacy-ftp-import")
def legacy_ftp_import() -> None:
    download()
