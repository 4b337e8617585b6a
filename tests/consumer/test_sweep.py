"""The turn of the day: chunks of any size with events between them equal one sweep that nothing disturbed."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer import sweep
from consumer.partition import EVERYONE, START, DayEntry, PartitionState, Rules, Sweep
from consumer.step import read_rows
from features.codec import InvalidState, Seen, States, blank_heads, encode_states
from features.identity import position
from features.ledger import empty
from models.bundle import content_hash
from models.learner import Evidence, learner_named
from models.population import Statistics
from reports.verify import verify
from tests.harness.pure_run import FIRST, Part, PureRun, line, model

WALL = Rules(horizon_days=20, clock="wall", dedupe_days=3, forget_after_days=25)


def shop(customers: int = 12, **more: Any) -> PureRun:
    """Return one swept partition on the wall clock with some customers of the first day."""
    run = PureRun(partitions=1, rules=more.pop("rules", WALL), **more)
    run.turn(run.parts[0], FIRST)
    feed(run, *(line(f"c{n}", FIRST - n % 15, unit_price=1 + n) for n in range(customers)))
    return run


def feed(run: PureRun, *events: dict[str, Any]) -> None:
    run.publish(*events)
    part = run.parts[0]
    while part.state.applied < len(part.log):
        run.apply(part, 5)


def learn(run: PureRun, day: int) -> None:
    """Make the next model from the partition's last snapshot."""
    current, part = run.models[max(run.models)], run.parts[0]
    nobody = np.empty((0, len(current.features)), np.int64)
    made = learner_named("population").update(current, Evidence(day, part.snapshots[day], nobody, nobody))
    run.models[made.version] = made


# Properties --------------------------------------------------------------------------------------------------


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    chunk=st.integers(1, 8),
    schedule=st.lists(st.sampled_from(["events", "chunk", "turn", "learn", "leap"]), max_size=60),
    emit=st.sampled_from(["changes", "all"]),
    finish=st.booleans(),
)
def test_events_between_chunks_leave_everything_as_recomputed(
    seed: int, chunk: int, schedule: list[str], emit: Any, finish: bool
) -> None:
    """C5: at every moment each customer is in the statistics once, labelled as of the day that has reached him."""
    rng = random.Random(seed)
    run = shop(rules=msgspec.structs.replace(WALL, emit=emit))
    part, run.chunk = run.parts[0], chunk
    for op in schedule:
        day = part.state.day
        if op == "events":
            feed(run, *(_event(rng, day) for _ in range(rng.randrange(1, 6))))
        elif op == "chunk" and not part.state.sweep.ended:
            run.sweep_on(part)
        elif op == "learn" and part.state.sweep.ended:
            learn(run, day)
        elif op in ("turn", "leap") and part.state.sweep.ended:
            run.begin(part, day + (1 if op == "turn" else rng.choice([0, 1, 3, 9])))
    while finish and not part.state.sweep.ended:
        run.sweep_on(part)
    assert verify(*run.evidence()).differences == ()


def _event(rng: random.Random, day: int) -> dict[str, Any]:
    who = f"c{rng.randrange(16)}"
    if rng.random() < 0.06:
        return {"type": "erase", "customer_id": who}
    back = rng.random() < 0.3
    return line(
        who,
        day - rng.choice([0, 0, 0, 1, 5, 19, 30]),
        invoice_no=f"i{rng.randrange(40)}",
        quantity=-rng.randrange(1, 9) if back else rng.randrange(1, 9),
        unit_price=rng.choice([0.5, 3.25, 40.0]),
        event_id=rng.choice([f"e{rng.randrange(30)}", ""]),
    )


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_the_size_of_chunks_changes_nothing(chunk: int) -> None:
    runs = []
    for size in (chunk, 1_000):
        run = shop(40)
        run.chunk = size
        for day in range(FIRST + 1, FIRST + 30):
            run.turn(run.parts[0], day)
        runs.append(run)
    a, b = runs
    assert a.labels() == b.labels()
    assert a.parts[0].statistics == b.parts[0].statistics
    assert by_customer(a.parts[0]) == by_customer(b.parts[0])
    assert a.parts[0].rows == b.parts[0].rows


def by_customer(part: Part) -> list[tuple[bytes | None, bytes | None]]:
    """Return what was published, customer by customer: a chunk's tombstones come after its records."""
    return sorted(((record.key, record.value) for record in part.output), key=lambda pair: pair[0] or b"")


# What a sweep writes -----------------------------------------------------------------------------------------


def test_a_sweep_begins_with_a_line_in_the_day_log_and_ends_with_a_snapshot() -> None:
    run = shop()
    part, run.chunk = run.parts[0], 5
    applied = part.state.applied
    run.begin(part, FIRST + 1)
    assert part.days[-1] == DayEntry(2, FIRST + 1, 1, content_hash(model(horizon_days=20)), applied)
    assert FIRST + 1 not in part.snapshots
    run.sweep_on(part)
    assert len(part.days) == 2
    run.sweep_on(part)
    assert part.state.sweep.ended
    assert part.snapshots[FIRST + 1] == part.statistics
    assert part.statistics.total == 12


def test_a_sweep_of_nobody_ends_at_once() -> None:
    run = PureRun(partitions=1, rules=WALL)
    run.turn(run.parts[0], FIRST)
    assert run.parts[0].state.sweep.ended
    assert run.parts[0].snapshots[FIRST].total == 0


def test_only_those_who_move_are_written_and_published() -> None:
    run = shop()
    part = run.parts[0]
    before, labels, published = dict(part.states), run.labels(), len(part.output)
    run.turn(part, FIRST + 3)
    moved = {customer for customer, label in run.labels().items() if label != labels[customer]}
    assert 0 < len(moved) < 12
    assert {customer for customer in before if part.states[customer] != before[customer]} == moved
    assert {(record.key or b"").decode() for record in part.output[published:]} == moved
    headers = part.output[-1].headers
    assert (headers["day"], headers["model"], headers["sweep"]) == (b"2024-03-04", b"1", b"2")
    assert "offset" not in headers


def test_a_customer_whose_event_came_first_is_skipped_by_the_sweep_and_counted_once() -> None:
    run = shop()
    part, run.chunk = run.parts[0], 4
    last = max((f"c{n}" for n in range(12)), key=position)
    run.begin(part, FIRST + 18)
    feed(run, line(last, FIRST + 18))
    mine = [value["cause"] for value in run.values() if value.get("customer_id") == last]
    assert mine[-2:] == ["silence", "purchase"], "his own turn comes before his event"
    revision = run.heads()[last]["revision"]
    while not part.state.sweep.ended:
        run.sweep_on(part)
    assert run.heads()[last]["revision"] == revision
    assert part.statistics.total == sum(label > 10 for label in run.labels().values())


def test_a_customer_who_came_during_the_sweep_is_counted_once() -> None:
    for name in ("c0", "new", "other", "x", "y", "z"):
        run = shop(6)
        part, run.chunk = run.parts[0], 2
        run.begin(part, FIRST + 1)
        feed(run, line(name, FIRST + 1))
        while not part.state.sweep.ended:
            run.sweep_on(part)
        assert part.statistics.total == len(run.labels())


def test_who_has_no_order_left_is_lapsed_by_silence_and_comes_back_with_the_next_revision() -> None:
    run = shop(1)
    part = run.parts[0]
    run.turn(part, FIRST + 21)
    found = [value for value in run.values() if value.get("customer_id") == "c0"]
    assert found[-1]["segment"] == {"id": 1, "name": "Lapsed"}
    assert found[-1]["cause"] == "silence"
    assert found[-1]["features"]["frequency"] == 0
    assert found[-1]["features"]["tenure"] == 21
    feed(run, line("c0", FIRST + 21))
    found = [value for value in run.values() if value.get("customer_id") == "c0"]
    assert [record["revision"] for record in found] == [1, 2, 3]
    assert found[-1]["features"]["tenure"] == 21, "the first day outlives the orders"


def test_a_lapsed_customer_is_forgotten_with_a_tombstone_after_the_set_days() -> None:
    run = shop(1)
    part = run.parts[0]
    run.turn(part, FIRST + 25)
    assert run.labels() == {"c0": 1}
    run.turn(part, FIRST + 26)
    assert run.labels() == {}
    assert part.index == []
    assert run.values()[-1]["tombstone"] == "c0"
    assert run.counters()["forgotten"] == 1
    feed(run, line("c0", FIRST + 26))
    assert run.heads()["c0"]["revision"] == 1, "a new customer"
    assert verify(*run.evidence()).differences == ()


def test_who_lapses_and_is_forgotten_in_one_leap_gets_a_record_and_a_tombstone() -> None:
    run = shop(1)
    run.turn(run.parts[0], FIRST + 40)
    last, tombstone = run.values()[-2:]
    assert last["segment"]["id"] == 1
    assert tombstone["tombstone"] == "c0"
    assert verify(*run.evidence()).differences == ()


def test_the_first_sweep_after_a_bootstrap_says_bootstrap() -> None:
    from tests.harness.shop import past

    run = PureRun(partitions=1, rules=WALL, history=past(1), first=FIRST)
    run.turn(run.parts[0], FIRST)
    assert {value["cause"] for value in run.values() if "cause" in value} == {"bootstrap"}
    assert {value["revision"] for value in run.values() if "cause" in value} == {1}


def test_a_move_is_silence_if_the_old_model_would_make_it_too_else_the_models() -> None:
    """One feature, two models: the new centroids lie nearer, so that a day that moves nobody moves somebody."""
    old = model(features=("recency",), scale=(1.0,), centroids=((0.0,), (2.0,), (9.0,)), horizon_days=20)
    run = PureRun(partitions=1, rules=WALL, bundle=old)
    part = run.parts[0]
    run.turn(part, FIRST)
    feed(run, line("a", FIRST), line("b", FIRST - 1))
    assert run.labels() == {"a": 11, "b": 11}
    run.models[2] = msgspec.structs.replace(old, version=2, parent="p", centroids=((0.0,), (1.2,), (9.0,)))
    run.turn(part, FIRST + 1)
    run.turn(part, FIRST + 2)
    causes = {value["customer_id"]: value["cause"] for value in run.values() if value["segment"]["id"] == 12}
    # log1p(1) = .69: the old model keeps him, the new one does not. log1p(2) = 1.10: both move him.
    assert causes == {"a": "model", "b": "silence"}


def test_with_another_set_of_features_every_move_is_the_models() -> None:
    run = shop(3)
    run.models[2] = model(
        version=2, parent="p", features=("recency",), scale=(1.0,), centroids=((0.0,), (5.0,), (9.0,)), horizon_days=20
    )
    run.turn(run.parts[0], FIRST)
    later = [value["cause"] for value in run.values() if value["model_version"] == 2]
    assert set(later) == {"model"}
    assert run.parts[0].statistics.shape == (3, 1)


# The sample --------------------------------------------------------------------------------------------------


def test_everyone_clustered_leaves_his_vector_while_they_fit() -> None:
    run = shop(12)
    feed(run, line("broke", FIRST, quantity=-1))
    run.turn(run.parts[0], FIRST + 1)
    positions, vectors = read_rows(run.parts[0].rows["sample:2"], 3)
    assert sorted(positions) == sorted(position(f"c{n}") for n in range(12))
    assert vectors.sum(axis=0).tolist() == run.parts[0].statistics.sums.sum(axis=0).tolist()


def test_above_the_sample_size_a_share_of_positions_is_taken() -> None:
    ended = PartitionState(0, Sweep(4, FIRST, 1, "", None), 0)
    assert sweep.begin(ended, FIRST, model(), "", sweep.SAMPLE_SIZE).sweep.sample_below == EVERYONE
    assert sweep.begin(ended, FIRST, model(), "", 4 * sweep.SAMPLE_SIZE).sweep.sample_below == EVERYONE // 4
    run = shop(40)
    part = run.parts[0]
    run.begin(part, FIRST + 1)
    part.state = msgspec.structs.replace(
        part.state, sweep=msgspec.structs.replace(part.state.sweep, sample_below=EVERYONE // 2)
    )
    while not part.state.sweep.ended:
        run.sweep_on(part)
    positions, _ = read_rows(part.rows["sample:2"], 3)
    assert set(positions[7:].tolist()) <= {p for p, _ in part.index if p < EVERYONE // 2}
    assert 0 < len(positions) < 40


# Refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cursor", [START, 5])
def test_a_sweep_ends_before_the_next_begins(cursor: int) -> None:
    with pytest.raises(ValueError, match="must end before"):
        sweep.begin(PartitionState(0, Sweep(4, FIRST, 1, "", cursor), 0), FIRST + 1, model(), "", 0)


def test_the_day_never_runs_backwards() -> None:
    with pytest.raises(ValueError, match="must end before"):
        sweep.begin(PartitionState(0, Sweep(4, FIRST, 1, "", None), 0), FIRST - 1, model(), "", 0)


def test_a_sweep_knows_the_model_before_it_only_if_it_was_another() -> None:
    ended = PartitionState(0, Sweep(4, FIRST, 1, "", None), 0)
    assert sweep.begin(ended, FIRST, model(), "", 0).sweep.previous_version is None
    assert sweep.begin(ended, FIRST, model(version=2, parent="p"), "", 0).sweep.previous_version == 1
    assert sweep.begin(ended, FIRST, model(), "", 0).sweep.number == 5


def test_an_index_that_names_a_lost_state_is_an_error_with_its_place() -> None:
    run = shop(2)
    part: Part = run.parts[0]
    run.begin(part, FIRST + 1)
    names = ["a", "b"]
    heads = encode_states(States(blank_heads(1), empty(), _no_ids()), np.arange(1))
    with pytest.raises(InvalidState) as caught:
        sweep.chunk(run.context(part), names, [1, 2], [heads[0], None], True)
    assert caught.value.index == 1


def _no_ids() -> Seen:
    none = np.empty(0, np.int64)
    return Seen(none, np.empty(0, np.uint64), none)


def test_statistics_begin_at_zero_in_the_shape_of_the_sweeps_own_model() -> None:
    run = shop(6)
    part = run.parts[0]
    part.statistics = Statistics.zeros(9, 9)
    run.turn(part, FIRST + 1)
    assert part.statistics.shape == (3, 3)
    assert part.statistics.total == 6
