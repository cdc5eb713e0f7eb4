"""One real Prefect server for flows that use the helpers, and for the archive of their runs."""

from support import fixtures

server = fixtures.server_fixture("session")
seeder = fixtures.seeder_fixture("session")
unique = fixtures.unique
proxy = fixtures.proxy
