"""What an error of kafka-python means to us: may the call be retried, and has somebody taken over?

The library's own `retriable` answers for one request. Ours answers for the whole call, after which a new producer
is opened or the group is joined again; so a fence is retriable, and a topic still unknown after seconds is not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from consumer.ports import TransportError
from consumer.transport.kafka_records import read_any_header_name

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


class _Connections(KafkaConnectionManager):  # type: ignore[misc]  # the library ships no types
    """Remembers why a connection failed, and gives up on what no second try mends.

    The library says it to its log alone: whoever waits for a client hears of a timeout, ten seconds later.
    """

    def __init__(self, *args: Any, **config: Any) -> None:
        super().__init__(*args, **config)
        self.why: BaseException | None = None
        self.opening = True
        self.lost = 0
        """So many connections broke: what was asked over them may have been asked twice."""

    def get_connection(self, node_id: Any, *args: Any, **options: Any) -> Any:
        if self.opening and _says_no(self.why):
            raise self.why  # type: ignore[misc]  # _says_no of None is False
        known = self._conns.get(node_id)
        connection = super().get_connection(node_id, *args, **options)
        if connection is not known:  # it is asked for with each request, each of which would leave its listeners
            connection.init_future.add_errback(self._note)
            connection.close_future.add_errback(self._note)
            connection.close_future.add_errback(self._count)
        return connection

    def _count(self, _error: BaseException) -> None:
        self.lost += 1

    def _note(self, error: BaseException) -> None:
        if self.why is None or _telling(error) >= _telling(self.why):
            self.why = error


def _telling(error: BaseException) -> int:
    """Return how much a failed connection says of its reason.

    The brokers close a connection after a refusal: that it is closed tells less. That the last one ran out of time
    tells least: it had what the others left of it.
    """
    return (
        2 if _says_no(error) else 0 if isinstance(error, errors.KafkaTimeoutError | errors.RequestTimedOutError) else 1
    )


def _says_no(error: BaseException | None) -> bool:
    refused = isinstance(error, errors.SaslAuthenticationFailedError | errors.UnsupportedSaslMechanismError)
    return refused or "CERTIFICATE_VERIFY_FAILED" in str(error)


def build(make: Callable[..., _Client], **config: Any) -> _Client:
    """Make a client of kafka-python; one that finds no broker leaves no thread and no socket behind.

    A constructor of the library starts its thread before it looks for a broker, and returns nothing to close
    when it finds none. Raises `TransportError`, which says why the last connection failed.
    """
    read_any_header_name()
    inner: list[tuple[Any, _Connections]] = []
    where = ", ".join(config["bootstrap_servers"])
    authority = config.get("ssl_cafile")
    if authority and not os.access(authority, os.R_OK):
        raise TransportError(
            f"connecting to {where}: SEGMENTER_KAFKA_SSL_CAFILE {authority} cannot be read", retriable=False
        )

    def network(**options: Any) -> Any:
        net = NetworkSelector(**options)
        inner.append((KafkaNetClient(net=net, manager=(made := _Connections(net, **options))), made))
        return inner[-1][0]

    try:
        client = make(kafka_client=network, **config)
    except LIBRARY_ERRORS as error:
        for each, _ in inner:
            each.close()
        why = next((made.why for _, made in inner if made.why is not None), None)
        user = config.get("sasl_plain_username")
        raise transport_error(f"connecting to {where}" + (f" as {user}" if user else ""), why or error) from error
    for _, made in inner:
        made.opening = False
    return client


def root_cause(error: BaseException) -> BaseException:
    """Return the innermost Kafka error: the library wraps some in a plain `KafkaError`, or only quotes their names."""
    for inner in error.args:
        if isinstance(inner, errors.KafkaError):
            return root_cause(inner)
    if type(error) is errors.KafkaError:
        quoted = [getattr(errors, name, None) for name in re.findall(r"\b[A-Z]\w+Error\b", str(error))]
        return next((kind(str(error)) for kind in quoted if kind not in (None, errors.KafkaError)), error)
    return error


def error_of(code: int, text: str) -> BaseException:
    """Return the error that a code of Kafka's protocol stands for; a plain `KafkaError` for one unknown to it."""
    found: BaseException = (errors.for_code(code) if code > 0 else errors.KafkaError)(text)
    return found


def transport_error(doing: str, error: BaseException) -> TransportError:
    """Classify `error`, met while `doing`, into our `TransportError`."""
    cause = root_cause(error)
    fenced = isinstance(cause, _FENCED)
    passing = fenced or isinstance(cause, _CURED_BY_A_NEW_PRODUCER) or getattr(cause, "retriable", False)
    retriable = (passing or isinstance(cause, OSError)) and not isinstance(cause, _NEEDS_A_HUMAN)
    unexplained = type(cause) is errors.KafkaError  # a new producer and recovery will tell
    again = (retriable or unexplained) and not _says_no(cause)
    return TransportError(f"{doing}: {_describe(cause)}{_remedy(cause, doing)}", retriable=again, fenced=fenced)


def _remedy(cause: BaseException, doing: str) -> str:
    """Return what to do about an error that only a person can mend, "" for the others."""
    if isinstance(cause, errors.AuthorizationError):
        return f"; the user of SEGMENTER_KAFKA_SASL_USER needs {_right(cause, doing)} (docs/operations.md, Access)"
    if isinstance(cause, errors.SaslAuthenticationFailedError):
        return "; are SEGMENTER_KAFKA_SASL_USER and its password those that the brokers know?"
    if isinstance(cause, errors.UnsupportedSaslMechanismError):
        return "; SEGMENTER_KAFKA_SASL_MECHANISM must be one of the brokers' sasl.enabled.mechanisms"
    unheard = doing.startswith("connecting") and any(
        sign in str(cause) for sign in ("socket disconnected", "reset by peer", "SASL Authentication timed out")
    )
    if unheard and " as " in doing:  # brokers close the connection after a refusal, which is not always heard before
        return (
            "; does that listener speak SEGMENTER_KAFKA_SECURITY_PROTOCOL, is SEGMENTER_KAFKA_SASL_MECHANISM one of "
            "the brokers' sasl.enabled.mechanisms, and do they know SEGMENTER_KAFKA_SASL_USER and its password?"
        )
    if unheard or any(sign in str(cause) for sign in ("Invalid frame length", "WRONG_VERSION_NUMBER")):
        return "; does that listener speak SEGMENTER_KAFKA_SECURITY_PROTOCOL?"
    if "CERTIFICATE_VERIFY_FAILED" in str(cause):
        return (
            "; SEGMENTER_KAFKA_SSL_CAFILE must hold the authority that signed the brokers' certificates, and these "
            "must be made out to the host names in SEGMENTER_KAFKA_BOOTSTRAP and advertised.listeners"
        )
    return ""


def _right(cause: errors.AuthorizationError, doing: str) -> str:
    """Return the right that is missing, as Kafka's tools name it."""
    if isinstance(cause, errors.TopicAuthorizationFailedError):
        named = cause.args[0] if cause.args and isinstance(cause.args[0], set | frozenset | list) else ()
        topics = "topic " + ", ".join(sorted(named)) if named else "the topic"
        writing = doing.startswith("publishing") or " not " in doing
        return f"{'Write' if writing else 'Create' if doing.startswith('creating') else 'Read'} on {topics}"
    if isinstance(cause, errors.GroupAuthorizationFailedError):
        return f"{'Describe' if doing.startswith(('describing', 'listing')) else 'Read'} on the group"
    if isinstance(cause, errors.TransactionalIdAuthorizationFailedError):
        return "Write on the transactional ids that begin with the namespace"
    if doing.startswith("publishing") or " not " in doing:  # an idempotent producer that may write to no topic at all
        return "Write on the topic"
    return "a right on the cluster"


def _describe(error: BaseException) -> str:
    text = str(error).strip()
    name = type(error).__name__
    return text if text.startswith(name) or name in text else f"{name}: {text}" if text else name
