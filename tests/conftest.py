"""Settings for every test and the processes that it starts."""

import os

from prefect_monitoring.config.settings import env_name
from support.authorities import trust_one
from support.options import ANY_PORT
from support.prefect_server import template_folder


def pytest_configure() -> None:
    trust_one()
    template_folder()  # before xdist's workers, which inherit it
    os.environ[env_name("listen")] = ANY_PORT
