"""Traces by OpenTelemetry: one span a turn that wrote, with its parts, linked to the traces that the events came in.

    process transactions      CONSUMER, a trace of its own       links: the traces of the events, the newest 128 sampled
      poll transactions         waiting for records
      prepare                   records decoded, states loaded, everything decided
      commit redis              the fenced scripts
      commit kafka              the transaction; in error where it failed

Spans are made when the turn has ended, out of what the worker measured anyway, and handed to a thread that exports
them: a collector that is slow or away costs spans, never time. Names and attributes are those of OpenTelemetry's
semantic conventions for messaging; no attribute holds a key or a value of a record.

Needs the extra `otel`. What its own variables say (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_*) holds, but the address.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer, set_span_in_context

from consumer.observer import Turn
from consumer.ports import InputRecord
from consumer.traceparent import carried

MAX_LINKS = 128
"""The SDK's own limit."""
EXPORT_S = 5.0
END_WITHIN_S = 2.0
"""How long the end of the process waits for the last spans."""


class Spans:
    """Makes the spans of a turn. topic, group: whose records it is about."""

    def __init__(self, tracer: Tracer, topic: str, group: str) -> None:
        self._tracer, self._topic = tracer, topic
        self._attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": group,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
        }

    def __call__(self, turn: Turn) -> None:
        """Tell of one turn."""
        parts = (
            (f"poll {self._topic}", turn.polling),
            ("prepare", turn.preparing),
            ("commit redis", turn.committing),
            ("commit kafka", turn.publishing),
        )
        began = turn.ended - sum(seconds for _, seconds in parts)
        whole = self._tracer.start_span(
            f"process {self._topic}",
            kind=SpanKind.CONSUMER,
            links=links(turn.inputs),
            start_time=_ns(began),
            attributes=self._attributes
            | {
                "messaging.batch.message_count": len(turn.arrived),
                "segmenter.partitions": turn.partitions,
                "segmenter.records.published": turn.published,
            },
        )
        inside = set_span_in_context(whole)
        for name, seconds in parts:
            span = self._tracer.start_span(name, inside, start_time=_ns(began))
            began += seconds
            if turn.failure is not None and name == "commit kafka":
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", type(turn.failure).__name__)
            span.end(_ns(began))
        if turn.failure is not None:
            whole.set_status(StatusCode.ERROR)
        whole.end(_ns(turn.ended))


def links(records: Iterable[InputRecord]) -> list[Link]:
    """Return a link to each sampled trace among the records, newest first, `MAX_LINKS` at most."""
    found: dict[bytes, Link] = {}
    for record in reversed([record for record in records if record.headers]):
        for _, traceparent in carried(record.headers):
            context = _context(traceparent.decode())
            if context.trace_flags.sampled and traceparent not in found:
                found[traceparent] = Link(context)
        if len(found) == MAX_LINKS:
            break
    return list(found.values())


def _context(traceparent: str) -> SpanContext:
    _, trace, span, flags = traceparent.split("-")
    return SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


@contextmanager
def exporting(endpoint: str, topic: str, group: str) -> Iterator[Callable[[Turn], None]]:
    """Give what makes spans and sends them to a collector. endpoint: of OTLP over HTTP, without /v1/traces."""
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: "segmenter"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    exporter: SpanExporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Spans(provider.get_tracer("segmenter"), topic, group)
    finally:
        # The library would wait for a collector that is away, half a minute.
        ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(END_WITHIN_S)
        if ending.is_alive():
            exporter.shutdown()
