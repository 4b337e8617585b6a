"""The job on Bytewax: its Kafka operators around a stateful map, its state in memory, no recovery."""

from __future__ import annotations

import json
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from benchmarks.peers.job import Orders, add, day_of, environment, features, model, put_out, segment

MODEL = model()
State = tuple[Orders, int | None]


def decode(message: KafkaSourceMessage[bytes, bytes]) -> tuple[str, dict[str, Any]]:
    """Return the customer and his event."""
    event: dict[str, Any] = json.loads(message.value)
    return event["customer_id"], event


def advance(state: State | None, event: dict[str, Any]) -> tuple[State, list[dict[str, Any]]]:
    """Return the new state, and what is to be put out, if anything."""
    orders, last = state or ({}, None)
    add(orders, event)
    found = features(orders, day_of(event))
    now = segment(found, MODEL)
    return (orders, now), [put_out(event["customer_id"], now, found)] if now != last else []


def encode(pair: tuple[str, dict[str, Any]]) -> KafkaSinkMessage[bytes, bytes]:
    """Return the record of an output."""
    customer, value = pair
    return KafkaSinkMessage(customer.encode(), json.dumps(value).encode())


def dataflow() -> Dataflow:
    """Return the whole: read, keep, put out."""
    brokers = [environment("KAFKA")]
    flow = Dataflow("contest")
    read = kop.input("read", flow, brokers=brokers, topics=[environment("INPUT")])
    events = op.map("decode", read.oks, decode)
    changes = op.stateful_flat_map("advance", events, advance)
    kop.output("write", op.map("encode", changes, encode), brokers=brokers, topic=environment("OUTPUT"))
    return flow


if __name__ == "__main__":
    cli_main(dataflow())
