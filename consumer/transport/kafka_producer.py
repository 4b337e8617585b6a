"""What kafka-python's producer does not offer: waits with a deadline, and an end without waiting.

They reach into the library's inside, here and nowhere else; test_kafka_python_defects.py fails when
a new version moves what they reach for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kafka.errors import (
    KafkaTimeoutError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownTopicOrPartitionError,
)


def flush(producer: Any, deadline: float) -> None:
    """Do `flush`, but go on where a batch was split on its way because the topic took none so large.

    The library then gives the old batch up as "not done". What became of its records their own futures tell.
    """
    with suppress(UnknownError):
        producer.flush(timeout=deadline - time.monotonic())


def send_offsets(producer: Any, offsets: Mapping[Any, Any], member: Any, deadline: float) -> None:
    """Do `send_offsets_to_transaction`, but raise `KafkaTimeoutError` at `deadline` (monotonic seconds)."""
    _wait(producer, _manager(producer).send_offsets_to_transaction(offsets, member), deadline)


def commit(producer: Any, deadline: float) -> None:
    """Do `commit_transaction`, but raise `KafkaTimeoutError` at `deadline` (monotonic seconds)."""
    _wait(producer, _manager(producer).begin_commit(), deadline)


def connections_lost(producer: Any) -> int:
    """Return how many connections of a producer broke so far (`kafka_errors.build` counts them)."""
    lost: int = producer._sender._client._manager.lost  # noqa: SLF001 -- the library offers no way to its connections
    return lost


def knows_topic(producer: Any, topic: str, patience_s: float) -> bool:
    """Tell whether the brokers know a topic; one that was just created may take them a moment.

    Raises `KafkaTimeoutError` when no broker answers, `TopicAuthorizationFailedError` where we may not know.
    The library's own wait cannot tell a silent broker from a missing topic, and asks without a pause.
    """
    cluster, deadline = producer._metadata, time.monotonic() + patience_s  # noqa: SLF001 -- see above
    producer._sender.add_topic(topic)  # noqa: SLF001 -- see above
    heard = False
    while cluster.partitions_for_topic(topic) is None:
        if time.monotonic() > deadline:
            if not heard:
                raise KafkaTimeoutError("no broker answers")
            return False
        heard = _hear(producer, cluster, topic, deadline) or heard
        time.sleep(0.05)
    return True


def _hear(producer: Any, cluster: Any, topic: str, deadline: float) -> bool:
    """Ask for metadata once; tell whether a broker answered, be it that there is no such topic."""
    answered = threading.Event()
    asked = cluster.request_update()
    asked.add_both(lambda _: answered.set())
    producer._sender.wakeup()  # noqa: SLF001 -- see above
    answered.wait(max(0.0, deadline - time.monotonic()))
    if topic in cluster.unauthorized_topics:
        raise TopicAuthorizationFailedError({topic})
    return asked.succeeded() or isinstance(asked.exception, UnknownTopicOrPartitionError)


def last_error(producer: Any) -> BaseException | None:
    """Return the error that spoiled the transaction, or None; what is raised afterwards only quotes its text."""
    error: BaseException | None = _manager(producer).last_error
    return error


def discard(producer: Any) -> None:
    """End a producer at once, whatever it waits for; its thread ends with its present wait.

    `close(timeout=0)` would flush first and raise with the thread still alive, and the finalizer would then close
    again and replace the library's logger for the whole process.
    """
    producer._unregister_cleanup()  # noqa: SLF001 -- see above
    producer._sender.force_close()  # noqa: SLF001 -- see above
    producer._closed = True  # noqa: SLF001 -- see above


def _manager(producer: Any) -> Any:
    return producer._transaction_manager  # noqa: SLF001 -- its methods return what can be waited for with a timeout


def _wait(producer: Any, result: Any, deadline: float) -> None:
    producer._sender.wakeup()  # noqa: SLF001 -- as the library's own methods do
    if not result.wait(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000):
        raise KafkaTimeoutError("no answer from the coordinator")
