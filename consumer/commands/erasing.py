"""`erase`: publish an erasure, wait until it is applied and published, and print a receipt (PROTOCOL H4).

    erasure --> input, under the customer's key --worker--> one commit: state, statistics, tombstone, mark
    tick    --> the same partition               --worker--> the next commit: its outbox replaces the tombstone's
    receipt <-- what the stores hold now, claim by claim (consumer.commands.erasure_receipt)

The input is the only way in: a state that were deleted beside the worker would stay in the statistics and come back
with the next replay. The tick carries the partition's present day, so it turns nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import typer
from rich.console import RenderableType

from consumer.commands.cli_output import Output, Tell, plain, table
from consumer.commands.erasure_receipt import Case, NotReached, Receipt, receipt_of
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.partition import decode_state, iso
from consumer.ports import InputRecord
from consumer.service import check_binding, local_partition_of, open_state
from consumer.transport.kafka_admin import admin
from consumer.transport.kafka_reader import KafkaReader
from consumer.transport.kafka_writer import EventWriter
from features.identity import MAX_ID_BYTES, canonical_id
from features.store import GenerationGone
from models.redis_registry import RedisRegistry

LOOK_EVERY_S = 0.2


def run_erase(place: Place, text: str, timeout_s: float, output: Output) -> None:
    """Erase a customer and print the receipt; exit with 1 where it is not applied in time or a claim is wrong."""
    kafka = place.broker()
    customer = canonical_id(text)
    if not customer or len(customer.encode()) > MAX_ID_BYTES:
        raise Stop(ExitCode.USAGE, f"an id has 1 to {MAX_ID_BYTES} bytes, this one has {len(customer.encode())}")
    reader = KafkaReader(kafka)
    try:
        case, done_at = publish_erasure(place, customer, reader)
        output.note(
            f"published to partition {case.partition} of {place.settings.transactions_topic}, offset {case.offset}"
        )
        with output.progress() as tell:
            tombstone = _wait(case, done_at, timeout_s, tell)
        receipt = receipt_of(case, tombstone)
    finally:
        reader.close()
    output.result(receipt, *_shown(receipt))
    if not receipt.complete:
        raise typer.Exit(int(ExitCode.DIFFERENCES))


# publish -----------------------------------------------------------------------------------------------------


def publish_erasure(place: Place, customer: str, reader: KafkaReader) -> tuple[Case, int]:
    """Write the erasure and the tick; return the case and the offset that the partition must have applied.

    customer: a canonical id. Raises `Stop` where the state is of another world, `StoreError`, `TransportError`.
    """
    settings, kafka = place.settings, place.broker()
    client, binding, store = open_state(settings)
    facts = reader.facts(settings.transactions_topic)
    check_binding(binding, facts, settings)
    partition = local_partition_of(binding.partitions)(customer)
    state = decode_state(store.fences([partition])[partition].state)
    had_state = store.load({partition: [customer]})[partition][0] is not None
    output_from = reader.bounds(settings.segments_topic, partition)[1]
    erasures_from = reader.bounds(settings.erasures_topic, partition)[1]
    erasure = msgspec.json.encode({"type": "erase", "customer_id": customer})
    tick = msgspec.json.encode({"type": "tick", "at": f"{iso(state.day)}T00:00:00"})
    with EventWriter(kafka, settings.transactions_topic) as writer:
        offset = writer.write(customer.encode(), erasure, partition)
        done_at = writer.write(None, tick, partition) + 1
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    case = Case(
        place, customer, partition, store, registry, binding, reader, offset, had_state, output_from, erasures_from
    )
    return case, done_at


# wait --------------------------------------------------------------------------------------------------------


def _wait(case: Case, done_at: int, timeout_s: float, tell: Tell) -> InputRecord:
    """Return the tombstone as soon as everything is applied and published. Raises `Stop` when time is up."""
    deadline = time.monotonic() + timeout_s
    began, tombstone = min(case.state.applied, done_at - 1), None
    while tombstone is None:
        try:
            applied = min(case.state.applied, done_at)
        except GenerationGone as error:
            raise Stop(
                ExitCode.INCOMPATIBLE,
                f"{error}. The erasure stays in the input, at {_where(case)}, and the new state meets it there: "
                "run the same command again for the receipt",
            ) from error
        tell("waiting for a worker", applied - began, done_at - began)
        if applied == done_at:
            tombstone = _tombstone(case)
        if tombstone is None:
            if time.monotonic() > deadline:
                raise Stop(ExitCode.DIFFERENCES, _too_late(case, applied, done_at, timeout_s))
            time.sleep(LOOK_EVERY_S)
    return tombstone


def _tombstone(case: Case) -> InputRecord | None:
    """Return the committed tombstone that this very erasure caused: a transaction's records are seen together."""
    topic = case.place.settings.segments_topic
    _, end = case.reader.bounds(topic, case.partition)
    ours = ("offset", b"%d" % case.offset)
    if case.output_from < end:
        for record in case.reader.read(topic, case.partition, case.output_from, end):
            if record.value is None and record.key == case.customer.encode() and ours in record.headers:
                return record
    return None


def _too_late(case: Case, applied: int, done_at: int, timeout_s: float) -> str:
    doing = "applied, but not published" if applied == done_at else f"not applied ({done_at - applied} records to go)"
    workers = ""
    if not case.place.embedded:
        with admin(case.place.broker()) as asked:
            members = asked.group_members(case.place.settings.group_id)
        workers = f"; {members} workers are in the group" if members else "; no worker runs: `segmenter run`"
    return (
        f"after {timeout_s:g} s the erasure is {doing}{workers}. It stands in the input, at {_where(case)}, and will "
        "be applied; `segmenter status` says what holds it up. Run the same command again for the receipt"
    )


def _where(case: Case) -> str:
    return f"{case.place.settings.transactions_topic}, partition {case.partition}, offset {case.offset}"


# print -----------------------------------------------------------------------------------------------------


def _shown(receipt: Receipt) -> Iterator[RenderableType]:
    who = "" if receipt.had_state else "; there was no state of his"
    yield f"[bold]{plain(receipt.customer_id)}[/bold] is erased from {receipt.namespace}{who}"
    if receipt.refused_until is not None:
        until, revision = receipt.refused_until, receipt.revision
        yield f"lines dated {until} or before are refused; a new life begins after revision {revision}"
    yield ""
    colours = {"gone": "green", "kept": "green", "wrong": "red", "unchecked": "yellow"}
    rows = [(f"[{colours[r.verdict]}]{r.verdict}[/]", r.store, plain(r.what)) for r in receipt.reached]
    yield table(None, ["", "store", "what was found"], rows)
    yield ""
    rows = [(n.place, _range(n), n.what) for n in receipt.not_reached]
    yield table("Not reached; yours to see to (docs/privacy.md)", ["place", "offsets", "what"], rows)


def _range(found: NotReached) -> str:
    if found.topic is None:
        return ""
    return f"{found.topic}-{found.partition}: {found.start} to {found.stop}, without it"
