"""`export`: everybody as a row of a file, from the state as it runs; who opted out is left out and counted.

    each partition: its day and model, then its customers in chunks --> rows --> a file beside the target --> the target

Each row is a customer between two commits, as of his partition's day; rows of different customers may be moments apart.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from consumer.commands.cli_output import Output, Tell
from consumer.commands.csv_export import Rows, TableWriter
from consumer.commands.customers import chunks, decoded
from consumer.commands.place import Place
from consumer.commands.whole_file import whole_file
from consumer.exits import ExitCode, Stop
from consumer.partition import PartitionState, decode_state
from consumer.scoring import first_days, named_segment, within_horizon
from consumer.service import open_state
from consumer.settings import Settings
from features.codec import States
from features.identity import canonical_id
from features.ledger import Ints
from features.transaction import date_of
from features.vector import NAMES, vectors
from models.bundle import Bundle
from models.redis_registry import RedisRegistry


class Exported(msgspec.Struct, frozen=True):
    """What `export` did. unknown: ids opted out of whom there is no state; escaped: cells that got an apostrophe."""

    file: str
    bytes: int
    customers: int
    opted_out: int
    unknown: int
    escaped: int
    model_versions: list[int]
    seconds: float


def run_export(place: Place, out: Path, opt_out: Path | None, output: Output) -> None:
    """Write the file and say what is in it."""
    left_out = frozenset[str]() if opt_out is None else read_ids(opt_out)
    with output.progress() as progress:
        done = export(place.settings, out, left_out, progress)
    output.result(
        done,
        f"{done.customers:,} customers in {done.file} ({done.bytes:,} bytes, {done.seconds:.1f} s)",
        f"left out: {done.opted_out:,} who opted out; {done.unknown:,} of the ids given are unknown here",
        f"text cells that a spreadsheet would have run: {done.escaped:,}, with an apostrophe in front",
    )


def export(settings: Settings, out: Path, left_out: frozenset[str], progress: Tell) -> Exported:
    """Write everybody but `left_out`. Raises `Stop`, `StoreError`; then no file is there that was not there before."""
    began = time.monotonic()
    client, binding, store = open_state(settings)
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    states = {p: decode_state(fence.state) for p, fence in store.fences(range(binding.partitions)).items()}
    models = {state.sweep.version: registry.load(state.sweep.version) for state in states.values()}
    customers = met = 0
    with whole_file(out, "--out") as file:
        writer = TableWriter(file, out.suffix)
        for partition, state in states.items():
            for share, ids, blobs in chunks(store, partition):
                met += sum(customer in left_out for customer in ids)
                wanted = [i for i, customer in enumerate(ids) if customer not in left_out]
                if wanted:
                    named = [ids[i] for i in wanted]
                    found = decoded(settings, named, [blobs[i] for i in wanted])
                    rows = _rows(named, found, state, binding.horizon_days, models[state.sweep.version])
                    writer.write(rows)
                customers += len(wanted)
                progress("exporting", int(1000 * (partition + share)), 1000 * binding.partitions)
        progress("exporting", 1000 * binding.partitions, 1000 * binding.partitions)
        writer.close()
    return Exported(
        file=str(out),
        bytes=out.stat().st_size,
        customers=customers,
        opted_out=met,
        unknown=len(left_out) - met,
        escaped=writer.escaped,
        model_versions=sorted(models),
        seconds=round(time.monotonic() - began, 2),
    )


def read_ids(path: Path) -> frozenset[str]:
    """Return the customer ids of a text file, one a line; blank lines are none. Raises `Stop` naming the line."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise Stop(ExitCode.USAGE, f"--opt-out {path}: {error.strerror}") from error
    ids = set()
    for number, line in enumerate(lines, start=1):
        try:
            ids.add(canonical_id(line.decode()))
        except UnicodeDecodeError:
            raise Stop(ExitCode.USAGE, f"--opt-out {path}: line {number}: not UTF-8 text; one id a line") from None
    return frozenset(ids - {""})


def _rows(ids: list[str], states: States, at: PartitionState, horizon_days: int, bundle: Bundle | None) -> Rows:
    heads, day = states.heads, at.day
    ledger = within_horizon(states, day - horizon_days)
    features = vectors(ledger, len(ids), day, first_days(states, day), NAMES).values
    entered = zip(heads["segment"].tolist(), heads["entered_day"].tolist(), strict=True)
    return Rows(
        customers=ids,
        segments=_named(heads["segment"], bundle),
        previous=_named(heads["previous"], bundle),
        entered_on=[date_of(since) if segment else None for segment, since in entered],
        revisions=heads["revision"].tolist(),
        as_of=date_of(day),
        features=features,
        model_version=at.sweep.version,
    )


def _named(numbers: Ints, bundle: Bundle | None) -> list[tuple[int, str] | None]:
    """Return id and name; one that the model no longer has is named by its number, as in the published records."""
    names: dict[int, tuple[int, str] | None] = {0: None}
    for number in set(numbers.tolist()) - {0}:
        names[number] = (number, named_segment(bundle, number).name)
    return [names[number] for number in numbers.tolist()]
