"""Settings for every test and the processes that it starts."""

import os

from prefect_monitoring.config.settings import env_name
from support.authorities import trust_one
from support.options import ANY_PORT


def pytest_configure() -> None:
    trust_one()
    os.environ[env_name("listen")] = ANY_PORT
