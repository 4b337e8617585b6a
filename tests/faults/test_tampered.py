"""Bytes that somebody changed: refused by name or read as what they say, never half, and never run (FAULTS S1).

What is fuzzed was written by a world in memory: states, partition states, outboxes, statistics, snapshots, marks, day
entries, rows, and a model. Where a checksum would give a change away, it is also made right again.
"""

from __future__ import annotations

import ast
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cache, partial
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer import sweep
from consumer.messages import decode_outbox, encode_outbox
from consumer.partition import DayEntry, Rules, SnapshotRecord, decode_state, encode_state
from consumer.step import SAMPLE_ROW, Context, Mark, read_rows
from consumer.stored import read_json, read_msgpack
from consumer.tally import Row
from features.codec import NARROW, NARROW_BIT, WIDE, Form, InvalidState, NewerSchema, decode_states, encode_states
from models import bundle as bundles
from models import population
from models.population import Statistics, StatisticsError
from tests.faults.test_store_damaged import Damage
from tests.harness.fault import Fault
from tests.harness.forked import REPOSITORY
from tests.harness.live import Live, wait_until
from tests.harness.served import Served
from tests.harness.world import FIRST_DAY, World, first_model, line, shopping

LIVES = Callable[..., Live]


class Kind(NamedTuple):
    """Stored bytes of one kind. exact: what is read must be written as the very same bytes again."""

    samples: Sequence[bytes]
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    refuses: tuple[type[Exception], ...]
    exact: bool
    seal: Callable[[bytes], bytes] = bytes


def one_state(data: bytes) -> Any:
    return decode_states([data])


def as_of_schema_2(blob: bytes) -> bytes:
    """Return the same state as it was written before there was a narrow form."""
    found = decode_states([blob])
    found.heads["schema"] = 2
    return encode_states(found, np.arange(1), 2)[0]


def rows(data: bytes) -> Any:
    return np.column_stack(read_rows(data, 3))


def sealed(data: bytes) -> bytes:
    """Return bytes whose last four are the CRC-32 of the rest."""
    return data[:-4] + crc32(data[:-4]).to_bytes(4, "little") if len(data) >= 4 else data


@cache
def world() -> World:
    """Return a world in which somebody was erased, after some days."""
    made = World(partitions=1)
    made.publish(*shopping(5, customers=8, days=6, per_day=10), {"type": "erase", "customer_id": "c3"})
    made.publish(line("c1", FIRST_DAY + timedelta(days=6), quantity=0, event_id="refused"))
    worker = made.worker()
    kept = b""
    for _ in range(400):
        worker.turn()
        kept = max(kept, made.store.parts[0].outbox, key=len)
    made.store.parts[0].outbox = kept
    return made


@cache
def kinds() -> dict[str, Kind]:
    part = world().store.parts[0]
    json = (msgspec.DecodeError,)
    longest = sorted(part.states.values(), key=len)
    return {
        "state": Kind(
            [*longest[-3:], as_of_schema_2(longest[-1])],
            one_state,
            lambda found: encode_states(found, np.arange(1), int(found.heads["schema"][0]))[0],
            (InvalidState, NewerSchema),
            True,
            sealed,
        ),
        "statistics": Kind(
            [part.statistics or b""], population.decode, population.encode, (StatisticsError,), True, sealed
        ),
        "model": Kind([bundles.encode(first_model())], bundles.decode, bundles.encode, (bundles.BundleError,), False),
        "partition": Kind([part.fence.state], decode_state, encode_state, json, False),
        "outbox": Kind([part.outbox], decode_outbox, encode_outbox, json, False),
        "mark": Kind(list(part.marks.values()), partial(read_json, kind=Mark), msgspec.json.encode, json, False),
        "day": Kind(part.days[-1:], partial(read_json, kind=DayEntry), msgspec.json.encode, json, False),
        "snapshot": Kind(
            list(part.snapshots.values())[-1:],
            partial(read_msgpack, kind=SnapshotRecord),
            msgspec.msgpack.encode,
            json,
            False,
        ),
        "row": Kind(
            [data for _, data in sorted(part.daily)][-2:],
            partial(read_json, kind=Row),
            msgspec.json.encode,
            json,
            False,
        ),
        "rows": Kind(
            [max(part.rows.values(), key=len)],
            rows,
            lambda found: found.astype(SAMPLE_ROW).tobytes(),
            (StatisticsError,),
            True,
        ),
    }


NAMES = ("state", "statistics", "model", "partition", "outbox", "mark", "day", "snapshot", "row", "rows")
EXTREMES = tuple(
    number.to_bytes(size, "little")
    for size in (1, 2, 4, 8)
    for number in (0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1)
)
WORDS = (
    "1e999",
    "-1",
    "0",
    "9" * 30,
    "1e17",
    "-9223372036854775808",
    "null",
    "NaN",
    '"x"',
    "[]",
    "[" * 3_000,
    "{}",
    "2.5",
)


@st.composite
def tampered(draw: st.DrawFn, name: str) -> bytes:
    """Change stored bytes in one to three ways."""
    kind = kinds()[name]
    data = draw(st.sampled_from(kind.samples))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        to = draw(st.integers(at, len(data)))
        how = draw(st.sampled_from(("flip", "cut", "grow", "splice", "repeat", "field", "number", "junk")))
        if how == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif how == "cut":
            data = data[:at]
        elif how == "grow":
            data += draw(st.binary(max_size=40))
        elif how == "splice":
            data = data[:at] + data[to:]
        elif how == "repeat":
            data = data[:to] + data[at:]
        elif how == "field":
            value = draw(st.sampled_from(EXTREMES))
            data = data[:at] + value + data[at + len(value) :]
        elif how == "number":
            found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data))
            if found:
                which = draw(st.sampled_from(found))
                data = data[: which.start()] + draw(st.sampled_from(WORDS)).encode() + data[which.end() :]
        else:
            data = draw(st.binary(max_size=200))
    return kind.seal(data) if draw(st.booleans()) else data


def refused_or_equal(name: str, data: bytes) -> bool:
    """Read changed bytes; return whether they were refused."""
    kind = kinds()[name]
    try:
        found = kind.read(data)
    except kind.refuses:
        return True
    again = kind.write(found)
    assert again == data if kind.exact else kind.write(kind.read(again)) == again
    return False


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read(name: str) -> None:
    assert kinds()[name].samples
    assert not any(refused_or_equal(name, data) for data in kinds()[name].samples)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=300)
@given(data=st.data())
def test_changed_bytes_are_refused_or_read_whole(name: str, data: st.DataObject) -> None:
    refused_or_equal(name, data.draw(tampered(name)))


@settings(max_examples=200)
@given(data=st.data())
def test_a_state_that_is_read_can_be_scored_whatever_it_says(data: st.DataObject) -> None:
    blob = data.draw(st.sampled_from(kinds()["state"].samples))
    for _ in range(data.draw(st.integers(1, 3))):  # a whole field each time, and the checksum made right again
        at, value = 4 * data.draw(st.integers(0, len(blob) // 4 - 2)), data.draw(st.sampled_from(EXTREMES))
        blob = sealed(blob[:at] + value + blob[at + len(value) :])
    state = decode_state(world().store.parts[0].fence.state)
    running = sweep.begin(state, state.day + 1, first_model(), "h", 1)
    context = Context(
        running, Statistics.zeros(2, 3), first_model(), None, Rules(horizon_days=60, emit="all"), world().history
    )
    try:
        decision = sweep.chunk(context, ["somebody"], [1], [blob], True)
    except (InvalidState, NewerSchema):
        return
    assert decision.statistics.n.sum() in (0, 1)
    assert b"NaN" not in encode_outbox(decision.outbox)


@pytest.mark.fault("S1")
def test_each_flipped_bit_and_each_cut_of_a_sealed_kind_is_refused(fault: Fault) -> None:
    for name in ("state", "statistics"):
        data = kinds()[name].samples[0]
        changed = [
            data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :] for at in range(len(data)) for bit in range(8)
        ]
        changed += [data[:at] for at in range(len(data))] + [data + b"\0", data + data]
        fault.inject(len(changed))
        fault.fired(sum(refused_or_equal(name, each) for each in changed))
    fault.unstreamed("bytes at rest; the stream is judged below")


@pytest.mark.parametrize("name", NAMES)
def test_a_count_that_lies_costs_no_memory(name: str) -> None:
    kind = kinds()[name]
    lies = [
        kind.seal(kind.samples[0][:at] + value + kind.samples[0][at + len(value) :])
        for at in range(24)
        for value in EXTREMES
    ]
    lies += [
        b"\xdd\xff\xff\xff\xff",
        b"\x92\xdd\x7f\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ]
    tracemalloc.start()
    try:
        for lie in lies:
            refused_or_equal(name, lie)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def field(form: Form, part: str, name: str) -> tuple[int, int]:
    """Return where a field of the head, or of the first record behind it, begins and ends in a state."""
    dtype: np.dtype[Any] = getattr(form, part)
    assert dtype.fields is not None
    kind, offset = dtype.fields[name][:2]
    begin = offset + (form.head.itemsize if part == "record" else 0)
    return begin, begin + kind.itemsize


@pytest.mark.parametrize("form", [WIDE, NARROW], ids=["wide", "narrow"])
def test_contents_that_cannot_be_are_refused_though_the_checksum_is_right(form: Form) -> None:
    longest = max(world().store.parts[0].states.values(), key=len)
    blob = longest if form is NARROW else as_of_schema_2(longest)
    assert bool(blob[1] & NARROW_BIT) == (form is NARROW)
    order, size = form.head.itemsize, form.record.itemsize
    second = blob[order : order + size]
    changes = {
        "more moves than there are": blob[:1] + bytes([blob[1] + 1]) + blob[2:],
        "a record twice": blob[:order] + second + second + blob[order + 2 * size :],
    }
    values = {"no lines": ("record", "lines", 0)}
    if form is WIDE:  # the narrow form has no room for such a day
        values |= {"entered_day": ("head", "entered_day", 2**31 - 1), "a day": ("record", "day", 2**31 - 1)}
    for what, (part, name, value) in values.items():
        begin, end = field(form, part, name)
        changes[what] = blob[:begin] + value.to_bytes(end - begin, "little") + blob[end:]
    for what, changed in changes.items():
        with pytest.raises(InvalidState) as refused:
            decode_states([None, sealed(changed)])
        assert refused.value.index == 1, what


# --- nothing that is read can run -------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "read_pickle",
    "to_pickle",
    "unpickle",
    "fromfile",
    "loadtxt",
    "genfromtxt",
}
LOADERS = {"np", "numpy", "yaml", "torch", "sklearn", "river"}
"""What of a library by these names is called `load` may run what it reads."""


def breaches(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name.split(".")[0] in FORBIDDEN_MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                top, given = module.split(".")[0], {each.name for each in names}
                if top in FORBIDDEN_MODULES or given & FORBIDDEN_MODULES:
                    yield module
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_CALLS | {"__import__"}:
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if name in FORBIDDEN_CALLS - {
                "compile"
            } or (owner in LOADERS and name in ("load", "unsafe_load", "full_load")):
                yield f"{owner}.{name}"
            case ast.keyword(arg="allow_pickle"):
                yield "allow_pickle"


def test_no_path_reads_a_pickle_or_runs_what_it_reads() -> None:
    files = [
        file
        for package in ("features", "models", "reports", "consumer")
        for file in (REPOSITORY / package).rglob("*.py")
    ]
    assert len(files) > 80
    found = {str(file): list(breaches(ast.parse(file.read_text("utf-8")))) for file in files}
    assert {file: what for file, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import sklearn.externals, joblib.hashing",
        "from sklearn.utils import joblib",
        "np.load(file)",
        "pd.read_pickle(x)",
        "eval(text)",
        "yaml.load(text)",
        "np.save(f, a, allow_pickle=True)",
        "__import__(n)",
    ],
)
def test_each_way_to_run_data_would_be_found(source: str) -> None:
    assert list(breaches(ast.parse(source)))


# --- under a running worker -------------------------------------------------------------------------------------------

DAY = FIRST_DAY + timedelta(days=8)


@pytest.mark.fault("S1")
def test_a_tampered_model_and_state_are_refused_by_name_and_what_is_in_use_stays(lives: LIVES, fault: Fault) -> None:
    live = lives(partitions=3)
    live.bootstrap(list(shopping(13, customers=60, days=8, per_day=30)))
    live.tick(DAY)
    worker = Served(live)
    live.settle()
    client: Any = live.client
    damage = Damage(live, client)
    registry = f"{{{live.settings.namespace}:model}}:1:"
    (used,) = {state.sweep.version for state in live.states().values()}
    wait_until(lambda: int(client.get(registry + "current")) == used + 1, "the model of the day")
    model = f"{registry}{used + 1}"
    whole = client.get(model)
    customer = damage.customer(1, "existing customer")
    state = damage.keys.customer(1, customer)
    before = client.get(state)

    # A model of right form, with a centroid moved a little; a state with one more unit in it, and its old checksum.
    fault.inject(2)
    moved = re.sub(
        rb'("centroids":\[\[)(\d)', lambda found: found[1] + b"%d" % ((int(found[2]) + 1) % 10), whole, count=1
    )
    assert bundles.decode(moved) != bundles.decode(whole)
    client.set(model, moved)
    units, _ = field(NARROW, "record", "units")
    client.set(state, before[:units] + bytes([before[units] ^ 1]) + before[units + 1 :])
    buyers = [damage.customer(p, "existing customer") for p in range(3)]
    live.publish(line(name, DAY, invoice_no=f"same day-{name}", event_id=f"same-{name}") for name in buyers)
    ends = [live.reader.bounds(live.settings.transactions_topic, p)[1] for p in range(3)]
    wait_until(lambda: all(live.states()[p].applied == ends[p] for p in (0, 2)), "the other partitions go on")
    hashed = damage.named(1, "existing customer")
    wait_until(lambda: hashed in worker.ready().paused.get("1", ""), "the state, by a keyed hash")
    fault.fired()

    # The next day would take the new model up: the name of its key is told, and nobody is scored by it.
    live.tick(DAY + timedelta(days=1))
    wait_until(lambda: any(model in event["detail"] for event in worker.log("trouble")), "the model, by its key")
    assert worker.ready().status == 503
    assert worker.alive()
    assert {state.sweep.version for state in live.states().values()} == {used}, "the previous model stays in use"
    assert customer not in worker.output()
    fault.fired()

    client.set(model, whole)
    client.set(state, before)
    fault.ended()
    live.settle()
    wait_until(lambda: worker.ready().status == 200, "a ready worker", 60)
    fault.recovered()
    assert {state.sweep.version for state in live.states().values()} == {used + 1}
    worker.end()
    fault.judge(live.verdict())
