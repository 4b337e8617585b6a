"""How to reach Kafka: one frozen value that every Kafka client of ours is built from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

ClientName: TypeAlias = Literal["kafka-python", "librdkafka"]
"""What `SEGMENTER_KAFKA_CLIENT` may be: see clients.py."""

AGAIN_S = 5.0
"""For a client made by a worker that runs: its brokers were there before, and it is to end in time if they are not."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Addresses and credentials.

    bootstrap_servers: comma-separated host:port.
    security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
    embedded: the broker is librdkafka's mock. It speaks the protocol of Kafka 2.1, creates topics on first use,
        and hands out batches with a wrong checksum from its second transaction on, so checksums are not compared.
    connect_timeout_s: how long a new client may look for a broker; too low and a restarting broker is an error,
        too high and a wrong address is noticed late.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_user: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    embedded: bool = False
    connect_timeout_s: float = 10.0

    def client(self) -> dict[str, Any]:
        """Return the keyword arguments that kafka-python's consumer, producer and admin client share."""
        return {
            "bootstrap_servers": [server.strip() for server in self.bootstrap_servers.split(",")],
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_user,
            "sasl_plain_password": self.sasl_password,
            "ssl_cafile": self.ssl_cafile,
            "api_version": (2, 1) if self.embedded else None,
            "bootstrap_timeout_ms": int(self.connect_timeout_s * 1000),
            "reconnect_backoff_max_ms": 2_000,  # the default of 30 s prolongs every outage by up to that much
            "metrics_enabled": False,  # ours are taken where the work is done; theirs cost 5-10 % of a poll
        }

    def again(self) -> KafkaSettings:
        """Return the same for one more client beside those that are there: it looks for a broker for `AGAIN_S` only."""
        return replace(self, connect_timeout_s=min(AGAIN_S, self.connect_timeout_s))

    def reading(self) -> dict[str, Any]:
        """Return what every consumer of ours adds: nothing uncommitted, nothing by default, nothing by itself."""
        return {
            **self.client(),
            "isolation_level": "read_committed",
            "auto_offset_reset": "none",
            "enable_auto_commit": False,
            "check_crcs": not self.embedded,
            "allow_auto_create_topics": self.embedded,
            "request_timeout_ms": 15_000,
        }
