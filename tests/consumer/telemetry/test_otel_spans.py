"""A turn becomes spans that last as long as its parts, linked to the traces of its events; an end waits for nobody."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import ValidationError

from consumer.commands.running import traces
from consumer.exits import ExitCode, Stop
from consumer.observer import Turn
from consumer.ports import InputRecord, TransportError
from consumer.settings import Settings
from consumer.telemetry.otel_spans import MAX_LINKS, Spans, exporting, links
from consumer.telemetry.telemetry import Telemetry
from consumer.traceparent import TRACEPARENT
from tests.consumer.telemetry.test_telemetry import Log
from tests.harness.world import FIRST_DAY, TRACE, World, line

ENDED = 1_700_000_000.0


def record(traceparent: bytes | None, offset: int = 0) -> InputRecord:
    headers = () if traceparent is None else ((TRACEPARENT, traceparent),)
    return InputRecord(offset, 0, b"k", b"{}", headers)


def numbered(n: int, flags: int = 1) -> bytes:
    return b"00-%032x-%016x-%02x" % (n, n, flags)


def turn(records: list[InputRecord], failure: TransportError | None = None) -> Turn:
    arrived = np.zeros(len(records), np.int64)
    return Turn(ENDED, 0.4, 0.3, 0.2, 0.1, (0, 2), arrived, iter(records), 5, failure)


def made(told: Turn) -> dict[str, ReadableSpan]:
    spans, exporter = recording()
    spans(told)
    return {span.name: span for span in exporter.get_finished_spans()}


def recording() -> tuple[Spans, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(provider.get_tracer("test"), "transactions", "shop"), exporter


class TestSpans:
    def test_the_parts_follow_each_other_and_fill_the_turn(self) -> None:
        found = made(turn([record(TRACE)]))
        whole = found.pop("process transactions")
        assert list(found) == ["poll transactions", "prepare", "commit redis", "commit kafka"]
        moments = [whole.start_time, *(span.end_time for span in found.values())]
        assert [(b or 0) - (a or 0) for a, b in pairwise(moments)] == pytest.approx([4e8, 3e8, 2e8, 1e8], abs=1_000)
        assert abs((whole.end_time or 0) - ENDED * 1e9) < 1_000
        for before, after in pairwise(found.values()):
            assert before.end_time == after.start_time
        assert whole.context
        assert all(span.parent and span.parent.span_id == whole.context.span_id for span in found.values())
        assert (whole.kind, whole.parent) == (SpanKind.CONSUMER, None)

    def test_it_names_topic_group_and_numbers_and_nothing_of_a_record(self) -> None:
        whole = made(turn([InputRecord(7, 0, b"customer-4711", b'{"customer_id": "customer-4711"}')]))
        attributes = dict(whole["process transactions"].attributes or {})
        assert attributes == {
            "messaging.system": "kafka",
            "messaging.destination.name": "transactions",
            "messaging.consumer.group.name": "shop",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": 1,
            "segmenter.partitions": (0, 2),
            "segmenter.records.published": 5,
        }
        assert "4711" not in "".join(span.to_json() for span in whole.values())

    def test_a_transaction_that_failed_is_an_error_by_its_kind(self) -> None:
        found = made(turn([], TransportError("{shop:3}:1:c:canary", retriable=True)))
        failed = {name for name, span in found.items() if span.status.status_code is StatusCode.ERROR}
        assert failed == {"process transactions", "commit kafka"}
        assert dict(found["commit kafka"].attributes or {}) == {"error.type": "TransportError"}
        assert "canary" not in "".join(span.to_json() for span in found.values())


class TestLinks:
    def test_a_link_leads_to_the_span_that_the_header_names(self) -> None:
        (link,) = links([record(None), record(TRACE), record(TRACE)])
        assert f"{link.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert f"{link.context.span_id:016x}" == "00f067aa0ba902b7"
        assert link.context.is_remote

    def test_what_is_malformed_or_was_not_sampled_has_none(self) -> None:
        assert links([record(b"<script>"), record(TRACE.upper()), record(numbered(7, flags=0))]) == []

    def test_of_many_the_newest_are_kept(self) -> None:
        found = links([record(numbered(n)) for n in range(1, MAX_LINKS + 11)])
        assert [link.context.trace_id for link in found] == list(range(MAX_LINKS + 10, 10, -1))


class TestWorker:
    def test_a_worker_makes_a_span_a_turn_linked_to_the_events_that_it_applied(self) -> None:
        spans, exporter = recording()
        world = World(partitions=1)
        world.observer = Telemetry(b"key", Log(), on_turn=[spans])
        world.write(0, b"a", json.dumps(line("a", FIRST_DAY)).encode(), ((TRACEPARENT, TRACE),))
        world.settle()
        turns = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.CONSUMER]
        counts = [(span.attributes or {})["messaging.batch.message_count"] for span in turns]
        assert sum(int(n) for n in counts if isinstance(n, int)) == 1
        linked = [f"{link.context.trace_id:032x}" for span in turns for link in span.links]
        assert linked == ["4bf92f3577b34da6a3ce929d0e0e4736"]


class TestSetting:
    @pytest.mark.parametrize("bad", ["collector:4318", "grpc://collector:4317", "http://", "http://a b"])
    def test_an_address_is_of_http(self, bad: str) -> None:
        with pytest.raises(ValidationError, match="http://host:4318"):
            Settings(_env_file=None, otel_endpoint=bad)

    def test_without_it_no_library_is_loaded_and_nothing_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")  # for every process of a platform
        monkeypatch.setitem(sys.modules, "consumer.telemetry.otel_spans", None)
        with ExitStack() as stack:
            for unset in ("", None):
                assert traces(Settings(_env_file=None, otel_endpoint=unset), stack) == []

    def test_where_the_extra_is_missing_it_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "consumer.telemetry.otel_spans")
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
        with ExitStack() as stack, pytest.raises(Stop, match=r"segmenter\[otel\]") as stopped:
            traces(Settings(_env_file=None, otel_endpoint="http://collector:4318"), stack)
        assert stopped.value.code is ExitCode.USAGE


class TestExport:
    def test_spans_reach_a_collector_before_the_end(self) -> None:
        with collector() as (endpoint, got):
            with exporting(endpoint + "/", "transactions", "shop") as tell:
                tell(turn([record(TRACE)]))
            (path, body) = got[0]
        assert path == "/v1/traces"
        (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
        service = {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"]
        names = [span.name for scope in resource.scope_spans for span in scope.spans]
        assert service == "segmenter"
        assert sorted(names) == ["commit kafka", "commit redis", "poll transactions", "prepare", "process transactions"]

    def test_a_collector_that_never_answers_holds_up_neither_the_work_nor_the_end(self) -> None:
        before = {*threading.enumerate()}
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            with exporting(f"http://127.0.0.1:{silent.getsockname()[1]}", "transactions", "shop") as tell:
                for _ in range(100):
                    tell(turn([record(TRACE)]))
            assert time.monotonic() - began < 20
        for thread in {*threading.enumerate()} - before:  # they would report their failure into another test
            thread.join(60)


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Take what is exported; give its address and what came: path and body."""
    got: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", got
        finally:
            server.shutdown()
            thread.join()
