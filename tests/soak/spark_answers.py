"""Run by PySpark's Python: writes Spark's answers to queries on an archive as JSON. `spark_answers.py PLAN ANSWERS`.

PLAN has `statements` that register the archive, and `queries` by name.
"""

import json
import sys
from pathlib import Path

from pyspark.sql import SparkSession


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    settings = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    with builder.getOrCreate() as session:
        for statement in plan["statements"]:
            session.sql(statement)
        answers = {name: [list(row) for row in session.sql(query).collect()] for name, query in plan["queries"].items()}
    Path(sys.argv[2]).write_text(json.dumps(answers, default=float), encoding="utf-8")


if __name__ == "__main__":
    main()
