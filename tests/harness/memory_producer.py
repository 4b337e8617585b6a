"""kafka-python's transactional producer over `MemoryKafka`, so that the real `KafkaSink` runs without a broker.

    KafkaSink -> MemoryProducer -> TransactionManager (the library's own) -> requests -> MemoryKafka

The library's transaction manager is the real one, defects included (test_kafka_python_defects.py shows them): what
a batch that expired leaves behind (T1) and what an abort leaves behind (T2) is decided there, not here. Stood in for
are the network, whose requests are answered in the calling thread, and the accumulator: one batch a partition.

What the cluster does wrong is planned, request by request:

    faults.plan("offsets", IllegalGenerationError)    refused so, once; also "init", "batch" or "end"
    faults.plan("end", KafkaConnectionError)          not received, its connection broke: the library sends it again
    faults.plan("end")                                not received, never answered: the caller's time runs out
    faults.plan("end_lost")                           carried out, never answered
    assert not faults.planned
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from kafka import TopicPartition, errors
from kafka.producer.transaction_manager import TransactionManager

from consumer.ports import Committed, OutputRecord, TransportError
from consumer.transport import kafka_sink
from consumer.transport.kafka_settings import KafkaSettings
from consumer.transport.kafka_sink import KafkaSink
from tests.harness.memory_kafka import MemoryKafka, Transaction

Request = Literal["init", "batch", "offsets", "end", "end_lost"]
API_VERSION = (4, 0)
COORDINATOR = 1
FENCED = errors.ProducerFencedError.errno


class Unanswered(Exception):
    """The answer to a request never comes."""


class Never:
    """A latch that nobody will set: whoever waits for it finds his time already over."""

    def wait(self, timeout: float | None) -> bool:  # noqa: ARG002 -- nothing waits here
        return False

    def is_set(self) -> bool:
        return False


class Faults:
    """What the cluster will do wrong, each once, in the order of planning."""

    def __init__(self) -> None:
        self._planned: dict[Request, deque[type[errors.KafkaError] | None]] = {}

    def plan(self, request: Request, error: type[errors.KafkaError] | None = None) -> None:
        self._planned.setdefault(request, deque()).append(error)

    def code(self, request: Request) -> int:
        """Return the error that is due, 0 for none. Raises `Unanswered`, `KafkaConnectionError`."""
        queue = self._planned.get(request)
        if not queue:
            return 0
        error = queue.popleft()
        if error is None:
            raise Unanswered
        if error is errors.KafkaConnectionError:
            raise error
        return int(error.errno)

    def clear(self) -> None:
        self._planned.clear()

    @property
    def planned(self) -> tuple[Request, ...]:
        """The faults that have not fired yet."""
        return tuple(request for request, queue in self._planned.items() for _ in queue)


class MemoryCluster(KafkaSettings):
    """The settings of a cluster in memory: inside `producers_in_memory`, a sink built from them writes there."""

    kafka: MemoryKafka
    faults: Faults

    @classmethod
    def of(cls, kafka: MemoryKafka) -> MemoryCluster:
        made = cls("memory:0")
        object.__setattr__(made, "kafka", kafka)
        object.__setattr__(made, "faults", Faults())
        return made

    def again(self) -> MemoryCluster:
        return self

    def client(self) -> dict[str, Any]:
        return {"bootstrap_servers": [self.bootstrap_servers], "cluster": self}

    def sink(self, transactional_id: str, group: str, topic: str, before_commit: Callable[[], None]) -> KafkaSink:
        return KafkaSink(self, transactional_id, group, topic, before_commit=before_commit)


class Acknowledgement:
    """The future of one record."""

    def __init__(self) -> None:
        self.done = False
        self.error: Exception | None = None

    def get(self, timeout: float | None = None) -> None:  # noqa: ARG002 -- nothing waits here
        if not self.done:
            raise errors.KafkaTimeoutError("the batch was never acknowledged")
        if self.error is not None:
            raise self.error


class MemoryProducer:
    """What `KafkaSink` uses of `KafkaProducer`, its inside included."""

    def __init__(self, *, cluster: MemoryCluster, transactional_id: str, **_config: Any) -> None:
        self._kafka, self._faults, self._id = cluster.kafka, cluster.faults, transactional_id
        self._batches: dict[TopicPartition, list[tuple[OutputRecord, Acknowledgement]]] = {}
        self._transaction: Transaction | None = None
        self._transaction_manager: Any = TransactionManager(
            transactional_id=transactional_id,
            api_version=API_VERSION,
            metadata=SimpleNamespace(add_coordinator=lambda *_: COORDINATOR),
        )
        self._transaction_manager._transaction_coordinator = COORDINATOR
        self._transaction_manager._consumer_group_coordinator = COORDINATOR
        self._closed = False
        self._metadata = SimpleNamespace(
            partitions_for_topic=self._partitions_for_topic, request_update=_answered, unauthorized_topics=frozenset()
        )
        self._connections = SimpleNamespace(lost=0)
        self._sender = SimpleNamespace(
            add_topic=lambda _: None,
            wakeup=self._pump,
            force_close=lambda: None,
            _client=SimpleNamespace(_manager=self._connections),
        )

    def init_transactions(self) -> None:
        result = self._transaction_manager.initialize_transactions()
        self._pump()
        if not result.wait(0):
            raise errors.KafkaTimeoutError("init_transactions was not answered")

    def begin_transaction(self) -> None:
        self._transaction_manager.begin_transaction()

    def send(
        self, topic: str, *, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes]], partition: int
    ) -> Acknowledgement:
        if key is None and value is None:
            raise ValueError("Need at least one: key or value")
        where, pending = TopicPartition(topic, partition), Acknowledgement()
        self._transaction_manager.maybe_add_partition_to_transaction(where)
        record = OutputRecord(topic, partition, key, value, tuple(headers))
        self._batches.setdefault(where, []).append((record, pending))
        return pending

    def flush(self, timeout: float | None = None) -> None:  # noqa: ARG002 -- nothing waits here
        self._pump()

    def _unregister_cleanup(self) -> None:
        pass

    def _partitions_for_topic(self, topic: str) -> set[int] | None:
        try:
            return set(range(len(self._kafka.topic(topic).logs)))
        except TransportError:
            return None

    # What the library's sender thread does -------------------------------------------------------------------

    def _pump(self) -> None:
        """Send what is due, one request at a time, until nothing is or an answer stays out (`Sender.run_once`)."""
        manager = self._transaction_manager
        while not manager.has_in_flight_transactional_request():
            handler = manager.next_request_handler(bool(self._batches))
            if handler is not None:
                correlation = manager.next_in_flight_request_correlation_id()
                try:
                    answer = self._answer(handler.request)
                except Unanswered:
                    handler.result._latch = Never()
                except errors.KafkaConnectionError as error:
                    self._connections.lost += 1
                    handler.on_complete(correlation, error)
                else:
                    handler.on_complete(correlation, answer)
            elif self._batches:
                self._send_batches()
            elif not manager._pending_requests:
                return

    def _send_batches(self) -> None:
        batches, self._batches = self._batches, {}
        for where, batch in batches.items():
            error = self._append(where, [record for record, _ in batch])
            for _, pending in batch:
                pending.done, pending.error = True, error

    def _append(self, where: TopicPartition, records: list[OutputRecord]) -> Exception | None:
        """Write one batch, or return why not, having told the manager what `Sender._complete_batch` would."""
        manager = self._transaction_manager
        if manager.has_error():
            failed: Exception = manager.last_error
            return failed
        try:
            code = self._faults.code("batch") or (0 if self._is_current() else errors.InvalidProducerEpochError.errno)
            error: Exception = errors.for_code(code)(f"{len(records)} records for {where}")
        except Unanswered:
            error = errors.KafkaTimeoutError(f"Expiring {len(records)} records for {where}")
        if type(error) is errors.NoError:
            assert manager.is_send_to_partition_allowed(where)
            for record in records:
                self._kafka.append_in(self._begun(), record)
            return None
        outcome = manager.classify_batch_error(error, SimpleNamespace(topic_partition=where))
        if outcome == manager.ERROR_CLASS_NEEDS_EPOCH_BUMP:
            manager.bump_producer_id_and_epoch()
        elif outcome == manager.ERROR_CLASS_FATAL:
            manager.transition_to_fatal_error(error)
        elif outcome == manager.ERROR_CLASS_ABORTABLE:
            manager.transition_to_abortable_error(error)
        # What is retriable, and will not be tried again, changes nothing: T1.
        return error

    # What the brokers do -------------------------------------------------------------------------------------

    def _answer(self, request: Any) -> Any:
        return getattr(self, "_" + type(request).__name__)(request)

    def _InitProducerIdRequest(self, request: Any) -> Any:  # noqa: N802 -- named as its request
        code = self._faults.code("init")
        if not code and request.producer_epoch >= 0 and not self._is_current():
            code = errors.InvalidProducerEpochError.errno
        epoch = -1 if code else self._kafka.open_producer(self._id)
        self._transaction = None
        return SimpleNamespace(error_code=code, producer_id=7, producer_epoch=epoch)

    def _FindCoordinatorRequest(self, _request: Any) -> Any:  # noqa: N802 -- named as its request
        return SimpleNamespace(error_code=0, coordinators=())

    def _AddPartitionsToTxnRequest(self, request: Any) -> Any:  # noqa: N802 -- named as its request
        code = self._fence()
        found = [(each.name, [(p, code) for p in each.partitions]) for each in request.v3_and_below_topics]
        return SimpleNamespace(results_by_topic_v3_and_below=found)

    def _AddOffsetsToTxnRequest(self, _request: Any) -> Any:  # noqa: N802 -- named as its request
        return SimpleNamespace(error_code=self._fence())

    def _TxnOffsetCommitRequest(self, request: Any) -> Any:  # noqa: N802 -- named as its request
        code = self._faults.code("offsets") or self._fence() or self._membership(request)
        for topic in request.topics:
            for each in topic.partitions if code == 0 else ():
                at = Committed(each.committed_offset, each.committed_metadata)
                self._begun().offsets[request.group_id, topic.name, each.partition_index] = at
        found = [(topic.name, [(each.partition_index, code) for each in topic.partitions]) for topic in request.topics]
        return SimpleNamespace(topics=found)

    def _EndTxnRequest(self, request: Any) -> Any:  # noqa: N802 -- named as its request
        code = self._faults.code("end") or self._fence()
        if not code:
            self._kafka.end(self._id, "committed" if request.committed else "aborted")
            self._transaction = None
            self._faults.code("end_lost")
        return SimpleNamespace(error_code=code)

    def _fence(self) -> int:
        """Return the coordinator's answer to an old epoch; else 0, and the transaction has begun."""
        if not self._is_current():
            return int(FENCED)
        self._begun()
        return 0

    def _membership(self, request: Any) -> int:
        """Return the group coordinator's answer to a member or a generation of yesterday (KIP-447)."""
        group = self._kafka.group(request.group_id)
        if request.member_id not in group.owned:
            return int(errors.UnknownMemberIdError.errno)
        return 0 if request.generation_id == group.generation else int(errors.IllegalGenerationError.errno)

    def _is_current(self) -> bool:
        mine: int = self._transaction_manager.producer_id_and_epoch.epoch
        return mine == self._kafka.epoch_of(self._id)

    def _begun(self) -> Transaction:
        if self._transaction is None:
            self._transaction = self._kafka.begin(self._id, self._transaction_manager.producer_id_and_epoch.epoch)
        return self._transaction


def _answered() -> Any:
    return SimpleNamespace(add_both=lambda done: done(None), succeeded=lambda: True, exception=None)


@contextmanager
def producers_in_memory() -> Iterator[None]:
    """Let each `KafkaSink` of a `MemoryCluster` build its producer in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka_sink, "KafkaProducer", MemoryProducer)
        patch.setattr(kafka_sink, "UNKNOWN_TOPIC_S", 0.05)
        yield
