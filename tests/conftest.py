"""What every test and every process that it starts has in common."""

import atexit
import os
import tempfile

import certifi

END = "-----END CERTIFICATE-----\n"


def pytest_configure() -> None:
    """Trusts one authority instead of certifi's 140: no test leaves this machine.

    Every httpx client, those of Prefect among them, loads them all: 0.1 s of CPU time, also where it speaks plain HTTP.
    """
    if "SSL_CERT_FILE" in os.environ:
        return
    with tempfile.NamedTemporaryFile("w", prefix="one-authority-", suffix=".pem", delete=False) as file:
        file.write(certifi.contents().partition(END)[0] + END)
    atexit.register(os.unlink, file.name)
    os.environ["SSL_CERT_FILE"] = file.name
