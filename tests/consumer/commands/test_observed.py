"""A worker as an operator sees it: started by the command, scraped, traced, killed between its two commits."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from consumer.ports import OutputRecord
from consumer.traceparent import TRACEPARENT
from consumer.transport.kafka_partitioner import partition_of
from consumer.transport.kafka_sink import KafkaSink
from tests.consumer.telemetry.test_otel_spans import collector
from tests.harness.live import Live, wait_until
from tests.harness.promtool import checked
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, TRACE, line, shopping

OTHER = b"00-11111111111111111111111111111111-2222222222222222-01"


def buy(live: Live, customer: str, trace: bytes) -> None:
    """A new customer buys something after the history ends, in a trace of the shop's."""
    topic = live.settings.transactions_topic
    value = json.dumps(line(customer, FIRST_DAY + timedelta(days=3), hour=23)).encode()
    key = customer.encode()
    shop = KafkaSink(live.kafka, f"{live.settings.namespace}-shop", "none", topic)
    shop.open()
    shop.write([OutputRecord(topic, partition_of(key, live.partitions), key, value, ((TRACEPARENT, trace),))])
    shop.close()


def traces(live: Live, customer: str) -> list[bytes | None]:
    return [dict(record.headers).get(TRACEPARENT) for record in live.output() if record.key == customer.encode()]


def test_a_worker_is_scraped_and_traced_and_a_trace_survives_its_death(
    kafka_bootstrap: str, redis_url: str, namespace: str, tmp_path: Path
) -> None:
    live = Live(kafka_bootstrap, redis_url, namespace, tmp_path, partitions=2)
    try:
        live.bootstrap([*shopping(3, customers=20, days=4)])
        first = Served(live)
        live.settle()
        first.end()

        buy(live, "killed", TRACE)
        dying = Served(live, at=("after_commit", 1, "kill"))
        wait_until(lambda: dying.process.poll() is not None, "a worker that dies between its commits", 60)
        assert dying.crash_file.exists()
        assert traces(live, "killed") == []

        with collector() as (endpoint, got):
            heir = Served(live, otel_endpoint=endpoint)
            wait_until(lambda: traces(live, "killed") == [TRACE], "the outbox published by another", 60)
            buy(live, "traced", OTHER)
            wait_until(lambda: traces(live, "traced") == [OTHER], "the next event's segment", 60)
            wait_until(lambda: heir.metric("segmenter_latency_seconds_count") >= 1, "its latency", 60)
            wait_until(lambda: heir.metric("segmenter_ready") == 1, "a worker that is ready", 60)
            checked("check", "metrics", given=heir.metrics())
            assert heir.found("republish") == 1
            assert heir.metric("segmenter_takeovers_total", verdict="republish") == 1
            assert heir.metric("segmenter_records_total", outcome="applied") == 2
            assert heir.metric("segmenter_outbox_age_seconds") == 0
            assert heir.metric("process_resident_memory_bytes") > 0
            heir.end()
        spans = [
            span
            for _, body in got
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        assert {link.trace_id.hex() for span in spans for link in span.links} == {"1" * 32}
    finally:
        live.close()
