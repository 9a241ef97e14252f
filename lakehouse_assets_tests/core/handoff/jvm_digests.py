"""Run as a program of its own: the row hashes of a Parquet file by Apache Spark in this process. Two kinds of session
do not share one.
"""

import os
import sys

from lakehouse_assets.core.handoff import rowhash, slices
from lakehouse_assets_tests.core.handoff.conftest import Hashed, contract


def main(source: str, target: str) -> None:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    things = contract(Hashed)
    # A zone of its own, which the hash must not depend on.
    settings = {
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1",
    }
    builder = SparkSession.builder.master("local[1]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    upper, lower = rowhash.spark_halves("digest")
    frame = spark.read.parquet(source).selectExpr(
        "id", f"md5({rowhash.spark_text(things)}) AS digest", f"{slices.spark_value(things)} AS bucket"
    )
    frame.selectExpr(
        "id", f"{upper} AS upper", f"{lower} AS lower", f"{slices.spark_name(things, 'bucket')} AS name"
    ).write.parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
