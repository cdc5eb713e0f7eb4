"""The HTTP client for servers that tests start."""

from typing import Final

import httpx

# Without the environment and its proxies, `httpx.get` loads the certificates of all authorities each time: 20 ms.
# A wait asks twenty times in its first second.
# No connection is kept: a server that was stopped and started again has closed it.
CLIENT: Final = httpx.Client(trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))
