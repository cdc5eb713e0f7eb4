"""The HTTP client for servers that tests start."""

from typing import Final

import httpx

# `httpx.get` loads the certificates of all authorities each time, which takes 20 ms of CPU; a wait asks twenty times in
# its first second.
# No connection is kept: a server that was stopped and started again has closed it.
CLIENT: Final = httpx.Client(trust_env=False, timeout=10, limits=httpx.Limits(max_keepalive_connections=0))
