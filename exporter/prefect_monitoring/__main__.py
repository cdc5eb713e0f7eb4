import sys

from prefect_monitoring.cli import main

sys.exit(main())
