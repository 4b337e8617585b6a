"""A bare transactional echo: what the same client costs without any work, for benchmarks.latency.

    python -m benchmarks.echo kafka-python|librdkafka BOOTSTRAP INPUT OUTPUT GROUP

consume -> produce what came -> send offsets -> commit, for ever. The client is tuned as the product tunes it: else its
pause of 100 ms between transactions would flatter the product.
"""

from __future__ import annotations

import sys
from itertools import chain

import confluent_kafka
import kafka

IDLE_S = 0.25
BATCH = 20_000


def kafka_python(bootstrap: str, topic: str, output: str, group: str) -> None:
    """Echo until somebody ends this process."""
    consumer = kafka.KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=BATCH,
        max_partition_fetch_bytes=4 << 20,
    )
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=group, retry_backoff_ms=2, batch_size=512 << 10
    )
    producer.init_transactions()
    while True:
        found = consumer.poll(timeout_ms=int(IDLE_S * 1000))
        if not found:
            continue
        producer.begin_transaction()
        for record in chain.from_iterable(found.values()):
            producer.send(output, key=record.key, value=record.value)
        producer.flush()
        ends = {at: kafka.OffsetAndMetadata(records[-1].offset + 1, "", -1) for at, records in found.items()}
        producer.send_offsets_to_transaction(ends, consumer.group_metadata())
        producer.commit_transaction()


def librdkafka(bootstrap: str, topic: str, output: str, group: str) -> None:
    """Echo until somebody ends this process."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.subscribe([topic])
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": group, "retry.backoff.ms": 2, "linger.ms": 5}
    )
    producer.init_transactions()
    while True:
        first = consumer.poll(IDLE_S)
        if first is None:
            continue
        producer.begin_transaction()
        for record in (first, *consumer.consume(BATCH, timeout=0)):
            producer.produce(output, key=record.key(), value=record.value())
        producer.flush()
        ends = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
        producer.send_offsets_to_transaction(ends, consumer.consumer_group_metadata())
        producer.commit_transaction()


CLIENTS = {"kafka-python": kafka_python, "librdkafka": librdkafka}


def main() -> None:
    """Run the echo that the arguments name."""
    client, *rest = sys.argv[1:]
    CLIENTS[client](*rest)


if __name__ == "__main__":
    main()
