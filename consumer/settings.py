"""Every setting of the service, in one frozen object, read from the environment and `.env`.

Each has a unit, a default and what happens when it is too low or too high; docs/operations.md and
.env.example are checked against this file. Secrets are never printed.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from consumer.cloudevents import CloudEvents
from consumer.partition import Rules
from consumer.publication import Topics
from consumer.secrets import read_secrets
from consumer.transport.kafka_settings import ClientName, KafkaSettings
from features.redis_cluster import addresses
from features.redis_store import RedisAddress
from features.vector import NAMES, RFM
from models.learner import NAMES as LEARNERS

PREFIX = "SEGMENTER_"


class Settings(BaseSettings):
    """Where the parts are and what the rules are; the same for every worker of a namespace."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    kafka_bootstrap: str = Field("localhost:9092", description="Kafka brokers, comma-separated host:port.")
    kafka_client: ClientName = Field(
        "kafka-python", description="What workers read and write by: kafka-python, or librdkafka for less CPU."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How Kafka is spoken to."
    )
    kafka_sasl_mechanism: str | None = Field(None, description="SCRAM-SHA-256, SCRAM-SHA-512 or PLAIN.")
    kafka_sasl_user: str | None = Field(None, description="User for SASL.")
    kafka_sasl_password: SecretStr | None = Field(None, description="Password for SASL.")
    kafka_sasl_password_file: str | None = Field(None, description="File that holds it instead.")
    kafka_ssl_cafile: str | None = Field(None, description="File with the certificates that brokers are checked by.")
    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis or Valkey; `rediss://` for TLS; `redis+cluster://host:port,host:port` for a cluster.",
    )
    redis_username: str | None = Field(None, description="User of Redis' ACL.")
    redis_password: SecretStr | None = Field(None, description="Password of Redis.")
    redis_password_file: str | None = Field(None, description="File that holds it instead.")
    redis_ssl_cafile: str | None = Field(
        None, description="File with the certificates that a `rediss://` server is checked by; the system's if unset."
    )
    namespace: str = Field("segmenter", description="First part of every Redis key, and of the transactional id.")
    group: str | None = Field(None, description="Consumer group; the namespace by default.")
    instance: str | None = Field(
        None, description="A stable name of this worker (static membership); two workers must never share one."
    )
    transactions_topic: str = Field("transactions", description="Input.")
    segments_topic: str = Field("customer-segments", description="Output, compacted.")
    dead_letters_topic: str = Field("transactions-dead-letters", description="Refused records, with the reason.")
    erasures_topic: str = Field("customer-erasures", description="Marks of erased customers, compacted.")
    timezone: str = Field("UTC", description="IANA zone whose calendar days count.")
    currency: str = Field("GBP", description="The one currency; records that name another are refused.")
    clock: Literal["wall", "event"] = Field(
        "wall", description="`wall`: today's date turns the day; `event`: the events' dates do (replays)."
    )
    horizon_days: int = Field(
        365, ge=1, le=3650, description="Days of orders that count; too short and a year's rhythm looks like churn."
    )
    dedupe_days: int = Field(
        7,
        ge=1,
        le=366,
        description="Days for which an event_id counts once; longer costs 12 bytes an event a customer.",
    )
    forget_after_days: int | None = Field(
        None, ge=1, description="Days after his last order when a lapsed customer ends; three horizons by default."
    )
    history_days: int = Field(
        400,
        ge=1,
        le=36500,
        description="Days of the daily table (`segmenter trend`); about 0.5 kB a day and partition.",
    )
    ahead_days: int = Field(
        31, ge=1, description="Event clock: an event further ahead of its partition's day is refused (`ahead`)."
    )
    features: Annotated[tuple[str, ...], NoDecode] = Field(
        RFM, description="Features that cluster, comma-separated; docs/features.md lists them. Read by bootstrap."
    )
    recency_offset_days: int = Field(
        1,
        ge=1,
        le=365,
        description="Recency clusters as log(days + this); more: the first days after an order weigh less, and fewer "
        "customers move. Read by bootstrap.",
    )
    margin: float = Field(
        0.95,
        gt=0,
        le=1,
        description="A customer moves where the new centroid's distance is below this share of the old.",
    )
    learner: str = Field("population", description="population, minibatch or river.")
    refine_every_days: int = Field(
        7, ge=1, description="Days between refinements to convergence; each makes clusters equal batch again."
    )
    renewal: Literal["adopt", "propose", "off"] = Field(
        "adopt",
        description="What becomes of a fit from scratch that beats the model every 14 days, or of a dying cluster's "
        "rescue: the model, a candidate to promote, or nothing.",
    )
    emit: Literal["changes", "all"] = Field("changes", description="`all` publishes every re-scoring, not only moves.")
    cloudevents: Literal["off", "headers"] = Field(
        "off",
        description="`headers`: segment records carry the attributes of CloudEvents too; about 200 bytes a record.",
    )
    erasure_key: SecretStr | None = Field(
        None, description="Key of the hash under which erased ids are remembered; derived from the namespace if unset."
    )
    erasure_key_file: str | None = Field(None, description="File that holds it instead.")
    max_poll_records: int = Field(
        20_000, ge=1, le=100_000, description="Events a poll; fewer cost throughput, more cost latency and memory."
    )
    session_timeout_s: float = Field(
        20.0,
        ge=1,
        le=300,
        description="Seconds without a heartbeat until a worker's partitions go to others; short: a pause costs them.",
    )
    metrics_port: int | None = Field(None, ge=1, le=65535, description="Port of /metrics, /livez and /readyz.")
    metrics_host: str = Field(
        "127.0.0.1", description="Address that it listens on; 0.0.0.0 in a container, whose network then guards it."
    )
    otel_endpoint: str | None = Field(
        None, description="Collector of traces, OTLP over HTTP, as in http://collector:4318; none are made if unset."
    )
    api_tokens_file: str | None = Field(
        None,
        description="File that says who may ask `segmenter serve` for what; without it: one id, from this machine.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_files(cls, given: dict[str, Any]) -> dict[str, Any]:
        return given | read_secrets(given, PREFIX)

    @field_validator("redis_url")
    @classmethod
    def _readable_address(cls, value: SecretStr) -> SecretStr:
        try:
            given = [urlsplit(each) for each in addresses(value.get_secret_value())]
            readable = all(
                each.scheme in ("redis", "rediss", "unix") and (each.port is None or each.port > 0) for each in given
            )
        except ValueError:  # its text quotes the address, and with it a password
            readable = False
        if not readable:
            raise ValueError(
                "an address is redis://host:6379/0, or rediss:// for TLS, or redis+cluster://host:6379,host:6379 of a "
                "cluster, whose one database has no number; a password in it has / @ : and # as %2F %40 %3A %23, or is "
                f"given as {PREFIX}REDIS_PASSWORD_FILE"
            )
        return value

    @field_validator("otel_endpoint")
    @classmethod
    def _http_address(cls, value: str | None) -> str | None:
        if value and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", value):
            raise ValueError("a collector's address is http://host:4318 or https://..., without /v1/traces")
        return value or None

    @field_validator("features", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("features")
    @classmethod
    def _known_features(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(NAMES))
        if unknown or not value or len(set(value)) < len(value):
            raise ValueError(f"unknown, repeated or no features {unknown}; there are {', '.join(NAMES)}")
        return value

    @field_validator("namespace")
    @classmethod
    def _plain_namespace(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value):
            raise ValueError("a namespace is 1 to 64 letters, digits, dots, dashes or underscores")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no IANA time zone, such as Europe/London") from None
        return value

    @field_validator("learner")
    @classmethod
    def _known_learner(cls, value: str) -> str:
        if value not in LEARNERS:
            raise ValueError(f"there are the learners {', '.join(LEARNERS)}")
        return value

    @model_validator(mode="after")
    def _distinct_topics(self) -> Settings:
        names = [self.transactions_topic, self.segments_topic, self.dead_letters_topic, self.erasures_topic]
        if len(set(names)) < len(names):
            raise ValueError(f"two topics share a name: {', '.join(names)}")
        return self

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def group_id(self) -> str:
        return self.group or self.namespace

    @property
    def topics(self) -> Topics:
        return Topics(
            self.transactions_topic,
            self.segments_topic,
            self.dead_letters_topic,
            self.erasures_topic,
            cloudevents=CloudEvents(f"/segmenter/{self.namespace}", self.zone)
            if self.cloudevents == "headers"
            else None,
        )

    @property
    def rules(self) -> Rules:
        return Rules(
            horizon_days=self.horizon_days,
            dedupe_days=self.dedupe_days,
            forget_after_days=self.forget_after_days or 3 * self.horizon_days,
            ahead_days=self.ahead_days,
            history_days=self.history_days,
            clock=self.clock,
            emit=self.emit,
        )

    @property
    def erasure_key_bytes(self) -> bytes:
        """The key of erased ids' hashes. Derived from the namespace it is no secret: set one where that matters."""
        given = self.erasure_key
        return given.get_secret_value().encode() if given else f"segmenter:{self.namespace}".encode()

    def redis(self) -> RedisAddress:
        return RedisAddress(
            self.redis_url.get_secret_value(),
            self.redis_username,
            self.redis_password.get_secret_value() if self.redis_password else None,
            self.redis_ssl_cafile,
        )

    def kafka(self, *, embedded: bool = False) -> KafkaSettings:
        return KafkaSettings(
            bootstrap_servers=self.kafka_bootstrap,
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_user=self.kafka_sasl_user,
            sasl_password=self.kafka_sasl_password.get_secret_value() if self.kafka_sasl_password else None,
            ssl_cafile=self.kafka_ssl_cafile,
            embedded=embedded,
        )
