"""Which library a worker speaks to Kafka through: `SEGMENTER_KAFKA_CLIENT`.

| client       | `Source`         | `Sink`         |
|--------------|------------------|----------------|
| kafka-python | KafkaSource      | KafkaSink      |
| librdkafka   | LibrdkafkaSource | LibrdkafkaSink |

Only the hot path can be chosen. What asks seldom (admin, readers, tails, `EventWriter`) is kafka-python's under either.
"""

from __future__ import annotations

from typing import NamedTuple

from consumer.transport.kafka_settings import ClientName
from consumer.transport.kafka_sink import KafkaSink
from consumer.transport.kafka_source import KafkaSource
from consumer.transport.librdkafka_sink import LibrdkafkaSink
from consumer.transport.librdkafka_source import LibrdkafkaSource


class KafkaClient(NamedTuple):
    """How one library reads a group's share and writes transactions; both are called alike."""

    source: type[KafkaSource | LibrdkafkaSource]
    sink: type[KafkaSink | LibrdkafkaSink]


CLIENTS: dict[ClientName, KafkaClient] = {
    "kafka-python": KafkaClient(KafkaSource, KafkaSink),
    "librdkafka": KafkaClient(LibrdkafkaSource, LibrdkafkaSink),
}
