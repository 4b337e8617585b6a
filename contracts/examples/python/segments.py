"""Hold each customer's present segment in memory, from the topic alone. Needs kafka-python 3.

python segments.py localhost:9092 customer-segments           prints every move, for ever
python segments.py localhost:9092 customer-segments --once    reads to the end, prints who is where as JSON lines
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from kafka import KafkaConsumer, TopicPartition

Segment = dict[str, Any]


class Segments:
    """The newest record of each customer in each partition; of several the highest revision is the present one.

    A customer has records in two partitions after partitions were added, and a tombstone drops those of its own.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[int, Segment]] = {}

    def apply(self, partition: int, key: bytes, value: bytes | None) -> Segment | None:
        """Take a record in; return it, if it is news."""
        customer = key.decode()
        held = self._held.setdefault(customer, {})
        if value is None:  # a tombstone: erased, or long gone
            held.pop(partition, None)
            if not held:
                del self._held[customer]
            return None
        new: Segment = json.loads(value)
        known = held.get(partition)
        if known is not None and new["revision"] <= known["revision"]:
            return None  # seen already
        before = self.present(customer)
        held[partition] = new
        return new if before is None or new["revision"] > before["revision"] else None

    def present(self, customer: str) -> Segment | None:
        """Return a customer's present record; None for who is not known, or gone."""
        return max(self._held.get(customer, {}).values(), key=lambda each: each["revision"], default=None)

    def customers(self) -> list[str]:
        """Return the customers who are known, in the order of their ids' UTF-8 bytes."""
        return sorted(self._held, key=str.encode)


def main() -> None:
    """Read the topic."""
    parser = argparse.ArgumentParser(description="Hold each customer's present segment.")
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("--once", action="store_true", help="end at the topic's end and print who is where")
    asked = parser.parse_args()
    consumer = KafkaConsumer(
        bootstrap_servers=asked.bootstrap,
        isolation_level="read_committed",  # nothing of an aborted transaction
        group_id=None,  # all partitions, from the beginning, each time: the topic is the table
        enable_auto_commit=False,
    )
    partitions = [TopicPartition(asked.topic, number) for number in sorted(consumer.partitions_for_topic(asked.topic))]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    segments = Segments()
    while not asked.once or any(consumer.position(each) < ends[each] for each in partitions):
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                news = segments.apply(record.partition, record.key, record.value)
                if news and not asked.once:
                    print(news["customer_id"], "is", news["segment"]["name"], "because of:", news["cause"], flush=True)
    consumer.close()
    for customer in segments.customers():
        print(json.dumps(segments.present(customer), ensure_ascii=False))


if __name__ == "__main__":
    main()
