"""How to reach Kafka, in librdkafka's words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from consumer.transport.kafka_settings import KafkaSettings

_WARNINGS = 4  # librdkafka's level

log = logging.getLogger(__name__)


def client(settings: KafkaSettings, noted: Callable[[KafkaError], None]) -> dict[str, Any]:
    """Return what every client of ours is configured with; `noted` hears of broken connections, in the client's poll.

    What is not given is left out: librdkafka takes no None.
    """
    given = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.sasl_user,
        "sasl.password": settings.sasl_password,
        "ssl.ca.location": settings.ssl_cafile,
        "reconnect.backoff.max.ms": 2_000,  # the default of 10 s prolongs every outage by up to that much
        "socket.connection.setup.timeout.ms": max(1_000, int(settings.connect_timeout_s * 1000)),
        "log_level": _WARNINGS,
        "logger": log,  # else it writes to stderr
        "error_cb": noted,
    }
    return {name: value for name, value in given.items() if value is not None}
