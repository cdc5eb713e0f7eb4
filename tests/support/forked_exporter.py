"""The unmodified command line, in forks of a process that has imported all of `serve`."""

from prefect_monitoring.cli import main
from prefect_monitoring.commands import serve  # noqa: F401 imported before the forks
from support.forked import serve_orders

if __name__ == "__main__":
    serve_orders(lambda _what, arguments: main(arguments))
