"""What the clients alone can do: a loop that reads the topic, and one that also writes every record out again.

    python -m benchmarks.raw_loops kafka-python|librdkafka poll|produce

No decoding, no state, no transaction: the roof over everybody who stands on the same client. `poll` writes out the
marks alone. The environment is that of a peer (benchmarks/peers/README.md).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import confluent_kafka
import kafka

from benchmarks.stream import PARTITIONS, marks

KAFKA, INPUT, OUTPUT = (os.environ.get(f"BENCH_{name}", "") for name in ("KAFKA", "INPUT", "OUTPUT"))
Record = tuple[bytes, bytes]
Send = Callable[[bytes, bytes], None]


def kafka_python() -> tuple[Iterator[list[Record]], Send, Callable[[], object]]:
    """Return the batches of the topic, a way to write a record, and one to let what is written go."""
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=KAFKA,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=5_000,
        max_partition_fetch_bytes=4 << 20,
    )
    consumer.assign([kafka.TopicPartition(INPUT, partition) for partition in range(PARTITIONS)])
    producer = kafka.KafkaProducer(bootstrap_servers=KAFKA, linger_ms=5, batch_size=512 << 10)

    def batches() -> Iterator[list[Record]]:
        while True:
            found = consumer.poll(timeout_ms=100)
            yield [(record.key, record.value) for records in found.values() for record in records]

    return batches(), lambda key, value: producer.send(OUTPUT, key=key, value=value), producer.flush


def librdkafka() -> tuple[Iterator[list[Record]], Send, Callable[[], object]]:
    """Return the same as `kafka_python`."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": OUTPUT,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.queue.backoff.ms": 10,  # by default a queue that was full rests for a second
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(INPUT, partition, 0) for partition in range(PARTITIONS)])
    producer = confluent_kafka.Producer({"bootstrap.servers": KAFKA, "linger.ms": 5, "partitioner": "murmur2_random"})

    def batches() -> Iterator[list[Record]]:
        while True:
            yield [(record.key() or b"", record.value() or b"") for record in consumer.consume(5_000, timeout=0.1)]

    return batches(), lambda key, value: producer.produce(OUTPUT, value, key), producer.flush


CLIENTS = {"kafka-python": kafka_python, "librdkafka": librdkafka}


def main() -> None:
    """Read until somebody ends this process."""
    client, job = sys.argv[1:]
    batches, send, flush = CLIENTS[client]()
    marked = {name.encode() for which in ("start", "end") for name in marks(which)}
    for batch in batches:
        for key, value in batch:
            if job == "produce" or key in marked:
                send(key, value)
        flush()


if __name__ == "__main__":
    main()
