"""The transport over kafka-python, in one place to import from.

| port          | class        | file             |
|---------------|--------------|------------------|
| `Source`      | KafkaSource  | kafka_source.py  |
| `Sink`        | KafkaSink    | kafka_sink.py    |
| `TopicReader` | KafkaReader  | kafka_reader.py  |
"""

from __future__ import annotations

from consumer.transport.kafka_reader import KafkaReader
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_sink import KafkaSink
from consumer.transport.kafka_source import KafkaSource, SourceTuning

__all__ = ["KafkaReader", "KafkaSettings", "KafkaSink", "KafkaSource", "SourceTuning"]
