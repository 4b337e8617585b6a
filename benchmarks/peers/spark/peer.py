"""The job on Spark Structured Streaming: a stateful processor a customer, its state in RocksDB with a checkpoint."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyspark.sql import Row, SparkSession
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle

from benchmarks.peers.job import add, day_of, environment, features, model, put_out, segment

JARS = Path(sys.prefix).parent / "build" / "target" / "dependency"
ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
BATCH = 10_000
"""Records a micro-batch; it must be small against the measured events: a batch is put out when it is whole."""


class Advance(StatefulProcessor):  # type: ignore[misc]  # pyspark is not in this environment
    """One customer's orders and segment."""

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Take the state, once a task."""
        self.model = model()
        self.state = handle.getValueState("customer", "orders MAP<STRING, ARRAY<BIGINT>>, segment INT")

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:  # noqa: N802, ARG002 - Spark's names
        """Yield what is to be put out, if anything; a shuffle promises no order, so the offset gives it."""
        orders, last = self.state.get() or ({}, None)
        for row in sorted(rows, key=lambda row: row.offset):
            event = json.loads(row.value)
            add(orders, event)
            found = features(orders, day_of(event))
            now = segment(found, self.model)
            if now != last:
                last = now
                yield Row(key=key[0], value=json.dumps(put_out(key[0], now, found)))
        self.state.update((orders, last))


def main() -> None:
    """Run until SIGTERM."""
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.jars", ",".join(map(str, sorted(JARS.glob("*.jar")))))
        .config("spark.sql.shuffle.partitions", 8)
        .config("spark.sql.streaming.stateStore.providerClass", ROCKSDB)
        .config("spark.ui.enabled", False)
        .getOrCreate()
    )
    events = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", environment("KAFKA"))
        .option("subscribe", environment("INPUT"))
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", BATCH)
        .load()
        .selectExpr("CAST(key AS STRING) AS customer", "CAST(value AS STRING) AS value", "offset")
    )
    query = (
        events.groupBy("customer")
        .transformWithState(Advance(), "key STRING, value STRING", "Update", "None")
        .writeStream.format("kafka")
        .outputMode("update")
        .option("kafka.bootstrap.servers", environment("KAFKA"))
        .option("topic", environment("OUTPUT"))
        .option("checkpointLocation", environment("STATE"))
        .start()
    )
    signal.signal(signal.SIGTERM, lambda *_: query.stop())
    query.awaitTermination()


if __name__ == "__main__":
    main()
