"""What an error of kafka-python means to us: may the call be retried, and has somebody taken over?

The library's own `retriable` answers for one request. Ours answers for the whole call, after which a new producer
is opened or the group is joined again; so a fence is retriable, and a topic still unknown after seconds is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient

from consumer.ports import TransportError

LIBRARY_ERRORS = (errors.KafkaError, OSError, RuntimeError, ValueError)
"""What a call into kafka-python may raise: RuntimeError by a closed loop, ValueError for an unknown partition."""

_FENCED = (
    errors.ProducerFencedError,
    errors.InvalidProducerEpochError,
    errors.TransactionCoordinatorFencedError,
    errors.CommitFailedError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
    errors.FencedInstanceIdError,
)
"""A rival with our transactional id or our place in the group, or a transaction that the coordinator timed out."""

_CURED_BY_A_NEW_PRODUCER = (
    errors.OutOfOrderSequenceNumberError,
    errors.UnknownProducerIdError,
    errors.InvalidProducerIdMappingError,
    errors.InvalidTxnStateError,
    errors.TransactionAbortedError,
    errors.TransactionAbortableError,
    errors.RebalanceInProgressError,
)

_NEEDS_A_HUMAN = (errors.UnknownTopicOrPartitionError, errors.FencedInstanceIdError)

_Client = TypeVar("_Client")


def build(make: Callable[..., _Client], **config: Any) -> _Client:
    """Make a client of kafka-python; one that finds no broker leaves no thread and no socket behind.

    A constructor of the library starts its thread before it looks for a broker, and returns nothing to close
    when it finds none. Raises `TransportError`.
    """
    inner: list[Any] = []

    def network(**options: Any) -> Any:
        inner.append(KafkaNetClient(**options))
        return inner[-1]

    try:
        return make(kafka_client=network, **config)
    except LIBRARY_ERRORS as error:
        for client in inner:
            client.close()
        raise transport_error(f"connecting to {', '.join(config['bootstrap_servers'])}", error) from error


def root_cause(error: BaseException) -> BaseException:
    """Return the innermost Kafka error: the library wraps some in a plain `KafkaError`, or only quotes their names."""
    for inner in error.args:
        if isinstance(inner, errors.KafkaError):
            return root_cause(inner)
    if type(error) is errors.KafkaError:
        quoted = [getattr(errors, name, None) for name in re.findall(r"\b[A-Z]\w+Error\b", str(error))]
        return next((kind(str(error)) for kind in quoted if kind not in (None, errors.KafkaError)), error)
    return error


def transport_error(doing: str, error: BaseException) -> TransportError:
    """Classify `error`, met while `doing`, into our `TransportError`."""
    cause = root_cause(error)
    fenced = isinstance(cause, _FENCED)
    passing = fenced or isinstance(cause, _CURED_BY_A_NEW_PRODUCER) or getattr(cause, "retriable", False)
    retriable = (passing or isinstance(cause, OSError)) and not isinstance(cause, _NEEDS_A_HUMAN)
    unexplained = type(cause) is errors.KafkaError  # a new producer and recovery will tell
    return TransportError(f"{doing}: {_describe(cause)}", retriable=retriable or unexplained, fenced=fenced)


def _describe(error: BaseException) -> str:
    text = str(error).strip()
    name = type(error).__name__
    return text if text.startswith(name) or name in text else f"{name}: {text}" if text else name
