"""What a world of workers in memory leaves behind, in the form that `verify` takes."""

from __future__ import annotations

import msgspec

from consumer.partition import DayEntry, decode_state
from models.bundle import encode
from reports import verify_input
from tests.harness.pure_run import FAR
from tests.harness.world import FIRST_DAY, GROUP, TOPICS, World, day_number


def evidence(
    world: World,
) -> tuple[verify_input.Facts, verify_input.History, dict[int, bytes], list[verify_input.Partition]]:
    """Gather everything that a world's topics and store hold."""
    rules = world.rules
    facts = verify_input.Facts(
        partitions=world.partitions,
        timezone="UTC",
        currency="GBP",
        clock=rules.clock,
        first_day=day_number(FIRST_DAY),
        today=FAR,
        horizon_days=rules.horizon_days,
        dedupe_days=rules.dedupe_days,
        forget_after_days=rules.forget_after_days,
        ahead_days=rules.ahead_days,
        ahead_events=rules.ahead_events,
        ahead_customers=rules.ahead_customers,
        emit=rules.emit,
        partition_of=world.home,
        erasure_key=b"key",
        keeps_moves=True,
    )
    models = {version: encode(bundle) for version, bundle in world.registry.versions.items()}
    return facts, verify_input.History(), models, [_partition(world, number) for number in range(world.partitions)]


def _partition(world: World, number: int) -> verify_input.Partition:
    part, log = world.store.parts[number], world.kafka.log
    state = decode_state(part.fence.state)
    sweep, days = state.sweep, [msgspec.json.decode(entry, type=DayEntry) for entry in part.days]
    committed = world.kafka.committed(GROUP, TOPICS.input, number)
    given, published, dead = (
        list(found.read(found.earliest, len(found.entries)))
        for found in (log(TOPICS.input, number), log(TOPICS.output, number), log(TOPICS.dead_letters, number))
    )
    return verify_input.Partition(
        number=number,
        start=days[0].applied if days else 0,
        committed=state.applied if committed is None else committed.offset,
        input_from=log(TOPICS.input, number).earliest,
        input=[verify_input.InputRecord(r.offset, r.timestamp, r.key, r.value) for r in given],
        output=[verify_input.OutputRecord(r.offset, r.key, r.value, dict(r.headers)) for r in published],
        days=[verify_input.DayEntry(e.number, e.day, e.version, e.model_hash, e.applied) for e in days],
        states=dict(part.states),
        standing=verify_input.Standing(
            state.applied,
            sweep.number,
            sweep.day,
            sweep.version,
            sweep.cursor,
            state.counters,
            [verify_input.Rewind(r.epoch, r.applied, r.sweep, r.cursor) for r in state.rewinds],
            [(gap.start, gap.stop) for gap in state.gaps],
            None if state.tally is None else [msgspec.structs.astuple(total) for total in state.tally.totals],
        ),
        statistics=part.statistics,
        marks=dict(part.marks),
        dead={
            int(dict(r.headers)["offset"]): dict(r.headers)["reason"].decode()
            for r in dead
            if "reason" in dict(r.headers)
        },
    )
