"""What every test and every process that it starts has in common."""

from support.authorities import trust_one


def pytest_configure() -> None:
    trust_one()
