"""What may be retried, and what is a fence."""

from __future__ import annotations

import socket
import threading

import pytest
from kafka import errors

from consumer.ports import LogCutShort, RetentionGap, TransportError
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_errors import transport_error
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_source import out_of_range

CASES: list[tuple[BaseException, bool, bool]] = [
    # error, retriable, fenced
    (errors.ProducerFencedError(), True, True),
    (errors.InvalidProducerEpochError(), True, True),
    (errors.CommitFailedError("metadata mismatch"), True, True),
    (errors.IllegalGenerationError(), True, True),
    (errors.UnknownMemberIdError(), True, True),
    (errors.FencedInstanceIdError(), False, True),  # a second worker has our name: only a human can tell which is right
    (errors.KafkaTimeoutError("late"), True, False),
    (errors.KafkaConnectionError("away"), True, False),
    (errors.NotEnoughReplicasError(), True, False),
    (errors.UnstableOffsetCommitError(), True, False),
    (errors.OutOfOrderSequenceNumberError(), True, False),
    (errors.InvalidTxnStateError(), True, False),
    (ConnectionResetError("gone"), True, False),
    (errors.UnknownTopicOrPartitionError(), False, False),  # after seconds of asking: it was deleted, or never made
    (errors.TopicAuthorizationFailedError({"segments"}), False, False),
    (errors.GroupAuthorizationFailedError("group"), False, False),
    (errors.TransactionalIdAuthorizationFailedError(), False, False),
    (errors.SaslAuthenticationFailedError(), False, False),
    (errors.MessageSizeTooLargeError("17 MB"), False, False),
    (errors.UnsupportedVersionError(), False, False),
    (ValueError("Unrecognized partition 9"), False, False),
]


@pytest.mark.parametrize(("error", "retriable", "fenced"), CASES, ids=lambda each: type(each).__name__)
def test_error_is_classified_for_the_whole_call(error: BaseException, retriable: bool, fenced: bool) -> None:
    found = transport_error("publishing", error)
    assert (found.retriable, found.fenced) == (retriable, fenced)
    assert str(found).startswith("publishing: ")


WRAPPED = [case for case in CASES if isinstance(case[0], errors.KafkaError)]


@pytest.mark.parametrize(("error", "retriable", "fenced"), WRAPPED, ids=lambda each: type(each).__name__)
def test_error_is_found_where_the_library_wraps_it(error: BaseException, retriable: bool, fenced: bool) -> None:
    for wrapped in (errors.KafkaError(error), errors.KafkaError("Cannot send", error)):
        found = transport_error("publishing", wrapped)
        assert (found.retriable, found.fenced) == (retriable, fenced)


def test_error_is_found_where_the_library_only_quotes_it() -> None:
    quoted = errors.KafkaError(f"Could not execute for unknown reasons: {errors.RequestTimedOutError()}")
    assert transport_error("publishing", quoted).retriable
    refused = errors.KafkaError(f"Could not add partitions due to errors: {errors.TopicAuthorizationFailedError()}")
    assert not transport_error("publishing", refused).retriable


def test_error_that_says_nothing_is_tried_again() -> None:
    assert transport_error("publishing", errors.KafkaError("something")).retriable


def test_offset_before_the_log_is_a_gap_and_one_behind_it_is_another_log() -> None:
    gap = out_of_range("t", 3, 10, (25, 40))
    assert isinstance(gap, RetentionGap)
    assert "15 records are gone" in str(gap)
    beyond = out_of_range("t", 3, 50, (25, 40))
    assert isinstance(beyond, LogCutShort)
    assert "t-3: offset 50 is wanted but the log ends at 40" in str(beyond)
    assert (beyond.retriable, out_of_range("t", 3, 40, (25, 40)).retriable) == (False, True)


def test_a_connection_keeps_nothing_of_the_requests_that_went_over_it(kafka_bootstrap: str) -> None:
    def listeners() -> int:
        futures = [connection.close_future for connection in manager._conns.values()]
        return sum(len(each._callbacks) + len(each._errbacks) for each in futures)

    with admin(KafkaSettings(kafka_bootstrap)) as kafka:
        manager = kafka._client._manager
        kafka.facts("none")
        before = listeners()
        assert before > 0, "the loss of a connection is noticed"
        for _ in range(20):
            kafka.facts("none")
        assert listeners() == before


def test_why_the_first_connections_failed_is_said_though_the_last_one_ran_out_of_time() -> None:
    # A listener that closes each connection, as brokers do after a refusal, until it answers no more.
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse_twice() -> None:
            for _ in range(2):
                listener.accept()[0].close()
            unanswered.append(listener.accept()[0])

        unanswered: list[socket.socket] = []
        refusing = threading.Thread(target=refuse_twice)
        refusing.start()
        settings = KafkaSettings(f"127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=2)
        with (
            pytest.raises(TransportError, match=r"(socket disconnected|reset by peer); does that listener speak"),
            admin(settings),
        ):
            pass
        refusing.join()
        unanswered.pop().close()
