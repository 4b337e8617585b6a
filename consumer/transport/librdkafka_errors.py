"""What an error of librdkafka means to us: told in the codes of Kafka's protocol, and judged as kafka-python's are.

One table of what may be retried, who is fenced and what a person can mend (kafka_errors.py) serves both clients.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from consumer.ports import TransportError
from consumer.transport.kafka_errors import error_of, transport_error

LIBRARY_ERRORS = (KafkaException, BufferError, RuntimeError, ValueError)
"""What a call into confluent-kafka may raise: RuntimeError on a closed client, ValueError for what it cannot take."""

_SAME_AS = {
    KafkaError._TRANSPORT: KafkaError.NETWORK_EXCEPTION,
    KafkaError._ALL_BROKERS_DOWN: KafkaError.NETWORK_EXCEPTION,
    KafkaError._RESOLVE: KafkaError.NETWORK_EXCEPTION,
    KafkaError._SSL: KafkaError.NETWORK_EXCEPTION,
    KafkaError._TIMED_OUT: KafkaError.REQUEST_TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE: KafkaError.REQUEST_TIMED_OUT,
    KafkaError._MSG_TIMED_OUT: KafkaError.REQUEST_TIMED_OUT,
    KafkaError._WAIT_COORD: KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError._AUTHENTICATION: KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._FENCED: KafkaError.PRODUCER_FENCED,
    KafkaError._UNKNOWN_TOPIC: KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION: KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""Codes of the library's own, which begin below zero, and what the protocol calls them."""

CONNECTING = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._SSL,
    KafkaError._AUTHENTICATION,
}
"""Codes of a connection that failed or broke."""


def kafka_error(error: BaseException) -> KafkaError | None:
    """Return what a raised error holds, None where it is not Kafka's."""
    found = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return found if isinstance(found, KafkaError) else None


def translated(doing: str, error: KafkaError | BaseException) -> TransportError:
    """Classify an error, met while `doing`, into our `TransportError`."""
    found = error if isinstance(error, KafkaError) else kafka_error(error)
    if found is None:
        assert isinstance(error, BaseException)
        return transport_error(doing, error)
    text = found.str().replace("certificate verify failed", "CERTIFICATE_VERIFY_FAILED")
    return transport_error(doing, error_of(_SAME_AS.get(found.code(), found.code()), text))


class Connection:
    """What became of a client's connections, as far as its polls have told."""

    def __init__(self) -> None:
        self.why: KafkaError | None = None
        """The failure that tells most of its reason."""
        self.lost = 0
        """So many connections failed: what was asked over them may have been asked twice."""

    def note(self, error: KafkaError) -> None:
        """Take note of an error that is nobody's answer (librdkafka's error callback)."""
        if error.code() not in CONNECTING:
            return
        self.lost += 1
        if self.why is None or self.why.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            self.why = error if error.code() != KafkaError._ALL_BROKERS_DOWN else self.why or error
