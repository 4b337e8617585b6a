"""`verify` is silent about a clean run and finds every planted fault.

The runs are of the service's pure code over a shop that has everything in it (tests/harness/shop.py). A fault is
planted where it would happen: in what the service did, or in what it stored and published.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from struct import pack_into, unpack_from
from typing import Any
from zlib import crc32

import msgspec
import pytest

from models.learner import learner_named
from reports.verify import verify
from reports.verify_input import Facts, History, OutputRecord, Partition, Verdict
from reports.verify_states import read_state
from tests.harness.pure_run import FIRST, Part, PureRun, line, model
from tests.harness.shop import RULES, busy_run

Evidence = tuple[Facts, History, dict[int, bytes], list[Partition]]

NARROW = 128
"""Says in the second byte of a stored state that it is narrow; the rest of it counts the moves."""
Field = tuple[tuple[int, str], tuple[int, str]]
SEGMENT: Field = (6, "<H"), (4, "<H")
REVISION: Field = (24, "<I"), (16, "<H")
NET: Field = (44 + 8, "<q"), (26 + 8, "<i")
"""Where a wide and a narrow state have the segment, the revision and the net of the first order."""


def settled(seed: int = 5, **more: object) -> PureRun:
    run = busy_run(seed, learner=learner_named("population"), **more)
    run.settle()
    return run


@pytest.fixture(scope="module")
def clean() -> Evidence:
    return settled().evidence()


# A clean run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("emit", ["changes", "all"])
def test_a_clean_run_has_no_difference_and_everything_happened_in_it(seed: int, emit: str) -> None:
    run = settled(seed, rules=msgspec.structs.replace(RULES, emit=emit))
    verdict = verify(*run.evidence())
    assert verdict.differences == ()
    assert verdict.ok
    assert verdict.events == run.counters()["lines"]
    causes = {value["cause"] for value in run.values() if "cause" in value}
    assert causes == {"bootstrap", "purchase", "return", "late", "silence", "model"}
    counters = run.counters()
    for name in ("repeated", "guests", "erased_customers", "forgotten", "refused.ahead", "refused.too_late"):
        assert counters[name] > 0, name
    segments = {value["segment"]["name"] for value in run.values() if "segment" in value}
    assert {"Lapsed", "No net purchases"} < segments


@pytest.mark.parametrize("learner", [None, "minibatch", "river"])
def test_whatever_learns_is_followed_version_by_version(learner: str | None) -> None:
    run = busy_run(1, learner=None if learner is None else learner_named(learner))
    run.settle()
    assert verify(*run.evidence()).differences == ()
    assert len(run.models) == 1 if learner is None else len(run.models) > 50


def test_without_a_history_the_first_event_of_a_customer_begins_his_life() -> None:
    run = busy_run(2, history=(), first=FIRST, learner=learner_named("population"))
    run.settle()
    assert verify(*run.evidence()).differences == ()


def test_an_unfinished_sweep_is_followed_up_to_its_cursor() -> None:
    run = settled()
    part = max(run.parts, key=lambda part: len(part.index))
    run.begin(part, part.state.day + 1)
    assert not part.state.sweep.ended
    assert verify(*run.evidence()).differences == ()


def test_every_feature_may_cluster() -> None:
    recent, basket = ("recency", "tenure", "frequency_30", "monetary_90"), ("basket_value", "basket_items")
    names = (*recent, *basket, "mean_gap", "return_rate")
    wide = model(
        features=names,
        horizon_days=RULES.horizon_days,
        scale=tuple(0.5 + i / 8 for i in range(8)),
        centroids=tuple(tuple(float(k + i % 3) for i in range(8)) for k in range(3)),
    )
    run = settled(3, bundle=wide)
    assert verify(*run.evidence()).differences == ()


def test_a_recency_offset_is_followed_and_is_not_taken_for_another() -> None:
    far = [(3.6, 1.6, 5.2), (3.8, 0.9, 3.8), (4.1, 0.7, 3.0)]
    run = settled(3, bundle=model(recency_offset=30, horizon_days=RULES.horizon_days, centroids=tuple(far)))
    facts, history, models, partitions = run.evidence()
    assert verify(facts, history, models, partitions).differences == ()
    plain = {name: data.replace(b'"recency_offset":30', b'"recency_offset":1') for name, data in models.items()}
    assert verify(facts, history, plain, partitions).differences


# The five faults of the issue --------------------------------------------------------------------------------


def with_value(run: PureRun, partition: int, offset: int, value: bytes | None) -> None:
    log = run.parts[partition].log
    log[offset] = log[offset]._replace(value=value)


def a_line(run: PureRun, *, with_id: bool) -> tuple[int, int]:
    """Return the place of a recent line of somebody who is there to the end, with an event id or without."""
    for part in run.parts:
        for record in reversed(part.log):
            event = json.loads(record.value or b"{}")
            alive = event.get("customer_id") in part.states and event.get("quantity", 0) > 0
            if alive and ("event_id" in event) == with_id and event["invoice_date"] > "2024-03-15":
                return part.number, record.offset
    raise AssertionError("the shop has no such line")


def something_refused(run: PureRun, partition: int) -> int:
    """Return the offset of the last record refused for its form, whoever's it was."""
    reasons = ("quantity", "schema", "price", "unknown_type")
    return max(offset for offset, reason in run.parts[partition].dead.items() if reason in reasons)


def found_by(verdict: Verdict, bucket: str) -> set[str]:
    return {difference.customer for difference in verdict.differences if difference.bucket == bucket}


def test_a_dropped_event_is_found() -> None:
    run = settled()
    partition, offset = a_line(run, with_id=True)
    value = run.parts[partition].log[offset].value
    customer = json.loads(value or b"")["customer_id"]

    blind = busy_run(5, learner=learner_named("population"))
    with_value(blind, partition, offset, b'{"customer_id": null}')  # what the service never saw
    blind.settle()
    with_value(blind, partition, offset, value)
    verdict = verify(*blind.evidence())
    assert verdict.state_differences
    assert customer in found_by(verdict, "state")
    assert ("ledger", customer) in {(d.kind, d.customer) for d in verdict.differences}


def test_a_doubled_event_is_found() -> None:
    run = settled()
    partition, offset = a_line(run, with_id=False)
    place = something_refused(run, partition)
    value = run.parts[partition].log[offset].value
    customer = json.loads(value or b"")["customer_id"]

    twice = busy_run(5, learner=learner_named("population"))
    held = twice.parts[partition].log[place].value
    with_value(twice, partition, place, value)
    twice.settle()
    with_value(twice, partition, place, held)
    verdict = verify(*twice.evidence())
    assert customer in found_by(verdict, "state")


class SkippingRun(PureRun):
    """Leaves one day's sweep out: `how` is "jump" (the day never was) or "pretend" (begun, and said to be done)."""

    how, skipped = "", FIRST + 12

    def turn(self, part: Part, day: int) -> None:
        if day != self.skipped:
            super().turn(part, day)
            return
        if self.how == "pretend":
            self.begin(part, day)
        done = msgspec.structs.replace(part.state.sweep, cursor=None, day=day)
        part.state = msgspec.structs.replace(part.state, sweep=done)


@pytest.mark.parametrize("how", ["jump", "pretend"])
def test_a_skipped_sweep_is_found(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = busy_run(5)
    run.__class__ = type("Skipping", (SkippingRun,), {"how": how})
    run.chunk = 1
    run.settle()
    verdict = verify(*run.evidence())
    assert not verdict.ok
    kinds = {difference.kind for difference in verdict.differences}
    assert "day log: day" in kinds if how == "jump" else "missing record" in kinds


def two_customers(part: Partition) -> tuple[str, str]:
    """Return two customers with different labels."""
    labels = {customer: number(blob, SEGMENT) for customer, blob in part.states.items()}
    first = min(labels)
    return first, next(customer for customer in sorted(labels) if labels[customer] != labels[first])


def number(blob: bytes, field: Field) -> int:
    at, form = field[bool(blob[1] & NARROW)]
    return int(unpack_from(form, blob, at)[0])


def changed_state(blob: bytes, field: Field, change: Callable[[int], int]) -> bytes:
    """Return a state with one number changed and a right checksum."""
    at, form = field[bool(blob[1] & NARROW)]
    body = bytearray(blob[:-4])
    pack_into(form, body, at, change(number(blob, field)))
    return bytes(body) + crc32(body).to_bytes(4, "little")


def test_two_swapped_stored_labels_are_found(clean: Evidence) -> None:
    facts, history, models, parts = clean
    a, b = two_customers(parts[0])
    states = dict(parts[0].states)
    label_a, label_b = (number(states[c], SEGMENT) for c in (a, b))
    states |= {
        a: changed_state(states[a], SEGMENT, lambda _: label_b),
        b: changed_state(states[b], SEGMENT, lambda _: label_a),
    }
    verdict = verify(facts, history, models, [replace(parts[0], states=states), parts[1]])
    assert found_by(verdict, "state") == {a, b}


def test_two_swapped_published_labels_are_found(clean: Evidence) -> None:
    facts, history, models, parts = clean
    output = list(parts[0].output)
    a = next(i for i, record in enumerate(output) if record.value)
    b = next(
        i
        for i, record in enumerate(output)
        if record.value and segment_of(record) != segment_of(output[a]) and record.key != output[a].key
    )
    output[a], output[b] = relabelled(output[a], output[b]), relabelled(output[b], output[a])
    verdict = verify(facts, history, models, [replace(parts[0], output=output), parts[1]])
    assert found_by(verdict, "output") >= {(output[a].key or b"").decode(), (output[b].key or b"").decode()}


def segment_of(record: OutputRecord) -> int:
    found: int = json.loads(record.value or b"")["segment"]["id"]
    return found


def relabelled(record: OutputRecord, other: OutputRecord) -> OutputRecord:
    return edited(record, segment=json.loads(other.value or b"")["segment"])


def edited(record: OutputRecord, **fields: object) -> OutputRecord:
    assert record.value is not None
    return record._replace(value=json.dumps(json.loads(record.value) | fields).encode())


def test_a_skipped_revision_is_found_even_where_the_state_went_along(clean: Evidence) -> None:
    facts, history, models, parts = clean
    customer = max(parts[0].states, key=lambda c: number(parts[0].states[c], REVISION))
    output = list(parts[0].output)
    for i, record in enumerate(output):
        if record.key == customer.encode() and record.value and (n := json.loads(record.value)["revision"]) > 2:
            output[i] = edited(record, revision=n + 1)
    states = dict(parts[0].states) | {customer: changed_state(parts[0].states[customer], REVISION, lambda n: n + 1)}
    part = replace(parts[0], output=output, states=states)
    verdict = verify(facts, history, models, [part, parts[1]])
    assert (verdict.revision_errors, verdict.output_differences) == (1, 0)
    assert {found.customer for found in verdict.differences} == {customer}
    assert {found.kind: found.expected for found in verdict.differences if found.bucket == "revision"} == {
        "revision": 3
    }
    assert {found.kind for found in verdict.differences if found.bucket == "state"} == {"moves"}, (
        "they did not go along"
    )


# More faults: one wrong thing each ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """plant: partition -> partition with a fault; bucket and kind: how the verdict must name it."""

    name: str
    bucket: str
    kind: str
    plant: Callable[[Partition], Partition]


def drop_output(part: Partition) -> Partition:
    last = max(i for i, record in enumerate(part.output) if record.value and "sweep" in record.headers)
    return replace(part, output=[r for i, r in enumerate(part.output) if i != last])


def double_output(part: Partition) -> Partition:
    return replace(part, output=[*part.output, part.output[-1]])


def edit_output(**fields: object) -> Callable[[Partition], Partition]:
    def plant(part: Partition) -> Partition:
        at = max(i for i, record in enumerate(part.output) if record.value and "offset" in record.headers)
        return replace(part, output=[edited(r, **fields) if i == at else r for i, r in enumerate(part.output)])

    return plant


def edit_feature(part: Partition) -> Partition:
    at = max(i for i, record in enumerate(part.output) if record.value)
    features = json.loads(part.output[at].value or b"")["features"]
    near = features | {"monetary": features["monetary"] + 2e-6}
    return replace(part, output=[edited(r, features=near) if i == at else r for i, r in enumerate(part.output)])


def move_header(part: Partition) -> Partition:
    at = max(i for i, record in enumerate(part.output) if record.value and "offset" in record.headers)
    record = part.output[at]
    moved = record._replace(headers=dict(record.headers) | {"offset": b"%d" % (part.committed - 1)})  # the tick
    return replace(part, output=[moved if i == at else r for i, r in enumerate(part.output)])


def resurrect(part: Partition) -> Partition:
    """A customer erased for good has a state again."""
    erased = next(
        (r.key or b"").decode()
        for r in part.output
        if r.value is None and "offset" in r.headers and (r.key or b"").decode() not in part.states
    )
    return replace(part, states=dict(part.states) | {erased: part.states[min(part.states)]})


def hide_tombstone(part: Partition) -> Partition:
    at = next(i for i, record in enumerate(part.output) if record.value is None and "offset" in record.headers)
    return replace(part, output=[r for i, r in enumerate(part.output) if i != at])


def hide_forgetting(part: Partition) -> Partition:
    at = next(i for i, record in enumerate(part.output) if record.value is None and "sweep" in record.headers)
    return replace(part, output=[r for i, r in enumerate(part.output) if i != at])


def lose_state(part: Partition) -> Partition:
    return replace(part, states={c: blob for c, blob in part.states.items() if c != min(part.states)})


def damage_state(part: Partition) -> Partition:
    first = min(part.states)
    return replace(part, states=dict(part.states) | {first: part.states[first][:-1] + b"?"})


def has_records(blob: bytes) -> bool:
    state = read_state(blob)
    return not isinstance(state, str) and bool(state.records)


def move_money(part: Partition) -> Partition:
    rich = next(c for c, blob in sorted(part.states.items()) if has_records(blob))
    return replace(part, states=dict(part.states) | {rich: changed_state(part.states[rich], NET, lambda n: n + 1)})


MOVE = 11
"""Bytes of a move in a narrow state."""


def mover(part: Partition) -> tuple[str, bytes]:
    """Return a customer with several moves, and his state's bytes before the checksum."""
    customer = next(c for c, blob in sorted(part.states.items()) if blob[1] > NARROW + 1)
    return customer, part.states[customer][:-4]


def with_body(part: Partition, customer: str, body: bytes) -> Partition:
    return replace(part, states=dict(part.states) | {customer: body + crc32(body).to_bytes(4, "little")})


def move_by_another_cause(part: Partition) -> Partition:
    customer, body = mover(part)
    return with_body(part, customer, body[:-1] + bytes([(body[-1] + 1) % 6]))


def forget_a_move(part: Partition) -> Partition:
    customer, body = mover(part)
    first = len(body) - MOVE * (body[1] - NARROW)
    return with_body(part, customer, body[:1] + bytes([body[1] - 1]) + body[2:first] + body[first + MOVE :])


def mistotal(part: Partition) -> Partition:
    assert part.standing.totals
    (segment, customers, net), *others = part.standing.totals
    return replace(part, standing=part.standing._replace(totals=[(segment, customers, net + 1), *others]))


def miscount(part: Partition) -> Partition:
    counters = dict(part.standing.counters)
    counters["applied"] -= 1
    counters["repeated"] = counters.get("repeated", 0) + 1
    return replace(part, standing=part.standing._replace(counters=counters))


def misstate_statistics(part: Partition) -> Partition:
    assert part.statistics is not None
    body = bytearray(part.statistics[:-4])
    body[-1] ^= 1
    return replace(part, statistics=bytes(body) + crc32(body).to_bytes(4, "little"))


def forget_mark(part: Partition) -> Partition:
    return replace(part, marks={})


def misname_dead_letter(part: Partition) -> Partition:
    offset = min(part.dead)
    return replace(part, dead=dict(part.dead) | {offset: "too_large"})


def commit_behind(part: Partition) -> Partition:
    return replace(part, committed=part.committed - 1)


def drop_day(part: Partition) -> Partition:
    return replace(part, days=[entry for entry in part.days if entry.number != 9])


def older_epoch(part: Partition) -> Partition:
    last = part.output[-1]
    return replace(part, output=[*part.output[:-1], last._replace(headers=dict(last.headers) | {"epoch": b"0"})])


def stranger(part: Partition) -> Partition:
    value = json.loads(next(record.value for record in part.output if record.value))
    record = part.output[-1]._replace(key=b"nobody", value=json.dumps(value | {"customer_id": "nobody"}).encode())
    return replace(part, output=[*part.output, record])


FAULTS = (
    Fault("a move not published", "output", "missing record", drop_output),
    Fault("a record published twice", "revision", "revision", double_output),
    Fault("a wrong cause", "output", "record at", edit_output(cause="silence")),
    Fault("a wrong day", "output", "record at", edit_output(as_of="2024-01-01")),
    Fault("a wrong entry", "output", "entered_on", edit_output(entered_on="2024-01-01")),
    Fault("a wrong previous segment", "output", "previous", edit_output(previous={"id": 99, "name": "?"})),
    Fault("a wrong name", "output", "record at", edit_output(segment={"id": 11, "name": "Nobodies"})),
    Fault("a wrong model version", "output", "record at", edit_output(model_version=1)),
    Fault("a wrong margin", "output", "record at", edit_output(margin=0.123456)),
    Fault("a label said to be held that is not", "output", "record at", edit_output(held=True)),
    Fault("another's id in the value", "output", "customer_id at", edit_output(customer_id="another")),
    Fault("a field that is missing", "output", "record at", edit_output(features={})),
    Fault("a feature off by two millionths", "output", "record at", edit_feature),
    Fault("an offset that caused nothing", "output", "extra record", move_header),
    Fault("an erased customer resurrected", "state", "state", resurrect),
    Fault("a tombstone missing after an erasure", "output", "missing record", hide_tombstone),
    Fault("a tombstone missing of a forgotten customer", "output", "missing record", hide_forgetting),
    Fault("a state lost", "state", "state", lose_state),
    Fault("a state damaged", "state", "state", damage_state),
    Fault("a ten-thousandth of a pound too much", "state", "ledger", move_money),
    Fault("a move by another cause", "state", "moves", move_by_another_cause),
    Fault("the first move forgotten", "state", "moves kept", forget_a_move),
    Fault("a segment's revenue off by a ten-thousandth", "state", "totals by segment", mistotal),
    Fault("a line counted as repeated", "state", "counter applied", miscount),
    Fault("one bit of the statistics", "state", "statistics squares", misstate_statistics),
    Fault("an erasure's mark lost", "state", "erasure mark", forget_mark),
    Fault("a dead letter with another reason", "state", "dead letter", misname_dead_letter),
    Fault("a commit not in Kafka", "state", "committed offset", commit_behind),
    Fault("a day not in the log", "state", "day log: sweep", drop_day),
    Fault("an older worker's record", "output", "commit", older_epoch),
    Fault("a customer who never was", "output", "extra record", stranger),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_one_wrong_thing_is_found_and_named(fault: Fault, clean: Evidence) -> None:
    facts, history, models, parts = clean
    verdict = verify(facts, history, models, [fault.plant(parts[0]), parts[1]])
    assert not verdict.ok
    named = [d for d in verdict.differences if d.bucket == fault.bucket and d.kind.startswith(fault.kind)]
    assert named, verdict.differences
    assert {d.partition for d in verdict.differences} == {0}


def test_a_tampered_model_is_found(clean: Evidence) -> None:
    facts, history, models, parts = clean
    tampered = json.loads(models[3]) | {"margin": 0.94}
    verdict = verify(facts, history, models | {3: json.dumps(tampered).encode()}, parts)
    assert any(difference.kind == "model 3" for difference in verdict.differences)


def test_a_history_row_that_was_not_loaded_is_found(clean: Evidence) -> None:
    facts, history, models, parts = clean
    # The newest row of somebody: still within the horizon.
    customer = next(c for c in reversed(history.customer) if c in parts[0].states or c in parts[1].states)
    at = list(history.customer).index(customer)
    names = ("customer", "invoice", "time", "amount", "units", "event_id")
    more: dict[str, Any] = {name: [*getattr(history, name), getattr(history, name)[at]] for name in names}
    assert found_by(verify(facts, History(**more), models, parts), "state") == {customer}


# What was taken away by time ---------------------------------------------------------------------------------


def compacted(part: Partition, upto: int) -> Partition:
    """Keep each customer's last record below `upto`, and everything from there on; old tombstones go."""
    last = {record.key: i for i, record in enumerate(part.output[:upto])}
    kept = [r for i, r in enumerate(part.output) if i >= upto or (last[r.key] == i and r.value is not None)]
    return replace(part, output=kept, completeness="compacted")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 1.0])
def test_compaction_is_no_fault(clean: Evidence, share: float) -> None:
    facts, history, models, parts = clean
    verdict = verify(facts, history, models, [compacted(part, int(len(part.output) * share)) for part in parts])
    assert verdict.differences == ()
    assert sum(entry.unseen for entry in verdict.verified_from) > 0


def test_after_compaction_a_gap_in_the_revisions_and_a_lost_customer_are_still_found(clean: Evidence) -> None:
    facts, history, models, parts = clean
    part = compacted(parts[0], len(parts[0].output) // 2)
    at = max(i for i, record in enumerate(part.output) if record.value)
    gap = replace(part, output=[edited(r, revision=99) if i == at else r for i, r in enumerate(part.output)])
    assert verify(facts, history, models, [gap, parts[1]]).revision_errors
    some = next(record.key for record in part.output if record.value and (record.key or b"").decode() in part.states)
    lost = replace(part, output=[record for record in part.output if record.key != some])
    assert found_by(verify(facts, history, models, [lost, parts[1]]), "output") == {(some or b"").decode()}


def test_a_tail_verifies_what_it_holds_and_says_whom_it_could_not_read(clean: Evidence) -> None:
    facts, history, models, parts = clean
    tails = [replace(part, output=part.output[-20:], completeness="tail") for part in parts]
    verdict = verify(facts, history, models, tails)
    assert verdict.differences == ()
    assert sum(entry.unread for entry in verdict.verified_from) > 0
    wrong = replace(tails[0], output=[*tails[0].output[:-1], edited(tails[0].output[-1], cause="return")])
    assert verify(facts, history, models, [wrong, tails[1]]).output_differences


def test_input_that_retention_took_leaves_only_the_output_to_be_checked(clean: Evidence) -> None:
    facts, history, models, parts = clean
    short = replace(parts[0], input=parts[0].input[30:], input_from=30)
    verdict = verify(facts, history, models, [short, parts[1]])
    assert verdict.differences == ()
    assert (verdict.verified_from[0].input_offset, verdict.verified_from[0].states) == (30, False)
    assert verify(facts, history, models, [double_output(short), parts[1]]).revision_errors == 1


def wholesale(more: list[dict[str, Any]], sizes: list[int]) -> Evidence:
    run = PureRun(partitions=1, rules=RULES, learner=None)
    for n in range(1_200):
        run.publish(line("wholesale", FIRST + n // 300, invoice_no=f"w{n}", unit_price=1 + n / 100))
    run.publish(line("c1", FIRST + 3), *more)
    run.tick(FIRST + 10)
    run.settle(sizes)
    return run.evidence()


@pytest.mark.parametrize("size", [1, 64, 700, 5_000])
def test_a_customer_above_the_cap_of_orders_is_compared_as_folded(size: int) -> None:
    facts, history, models, parts = wholesale([], [size] * 1_300)
    verdict = verify(facts, history, models, parts)
    assert verdict.differences == ()
    assert verdict.blurred == 0
    richer = changed_state(parts[0].states["wholesale"], NET, lambda n: n + 1)
    states = dict(parts[0].states) | {"wholesale": richer}
    assert not verify(facts, history, models, [replace(parts[0], states=states)]).ok


@pytest.mark.parametrize("size", [1, 64, 5_000])
def test_a_line_of_an_order_that_was_folded_blurs_a_customer_to_the_sums_of_his_days(size: int) -> None:
    late = [line("wholesale", FIRST, invoice_no="w3"), line("wholesale", FIRST + 1, invoice_no="w4")]
    facts, history, models, parts = wholesale(late, [size] * 1_300)
    verdict = verify(facts, history, models, parts)
    assert verdict.differences == ()
    assert verdict.blurred == 1
    richer = changed_state(parts[0].states["wholesale"], NET, lambda n: n + 1)
    states = dict(parts[0].states) | {"wholesale": richer}
    assert not verify(facts, history, models, [replace(parts[0], states=states)]).ok


def test_a_return_of_an_order_that_was_folded_is_followed_and_blurs_nobody() -> None:
    back = {"invoice_no": "C1", "original_invoice_no": "w3", "quantity": -2, "unit_price": 1.03}
    verdict = verify(*wholesale([line("wholesale", FIRST + 3, **back)], [700] * 20))
    assert (verdict.differences, verdict.blurred) == ((), 0)


def test_the_report_is_json_with_the_agreed_names(clean: Evidence) -> None:
    found = json.loads(json.dumps(verify(*clean).report()))
    names = {"customers", "state_differences", "output_differences", "revision_errors", "verified_from", "differences"}
    assert names <= found.keys()


def test_at_most_twenty_differences_are_spelled_out_and_all_are_counted(clean: Evidence) -> None:
    facts, history, models, parts = clean
    empty = [replace(part, states={}) for part in parts]
    verdict = verify(facts, history, models, empty)
    assert len(verdict.differences) == 20
    assert verdict.state_differences == sum(len(part.states) for part in parts)


def test_partitions_may_be_read_as_they_are_asked_for_each_once_the_one_before_is_judged(clean: Evidence) -> None:
    facts, history, models, parts = clean
    said: list[object] = []

    def read() -> Iterator[Partition]:
        for part in parts:
            said.append(f"read {part.number}")
            yield part

    verdict = verify(facts, history, models, read(), told=said.append)
    assert verdict == verify(facts, history, models, parts)
    assert [each for each in said if each != 0.0] == ["read 0", 1, "read 1", 1.0, 2]
