"""Erasure: what a partition forgets of a customer, and the mark that keeps replays off (PROTOCOL H4)."""

from __future__ import annotations

import hmac
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from consumer.messages import Emission, Outbox, event_headers
from consumer.partition import Clock, PartitionState
from consumer.scoring import within_horizon
from consumer.step import SAMPLE_ROW, Context, Decision, Mark, read_rows
from consumer.stored import read_json
from consumer.tally import NOBODY, Tally, totals_of
from features.codec import States, decode_states
from features.identity import position
from features.transaction import Control, local_seconds
from models.population import Statistics
from models.scoring import score

NEVER = -(1 << 62)
"""Local seconds before every event: a mark of this time only keeps a revision."""


def keyed_hash(key: bytes, customer: str) -> str:
    """Return the name of an erased customer's mark: HMAC-SHA-256, so it tells nothing without the key."""
    return hmac.new(key, customer.encode(), "sha256").hexdigest()


def with_revision(mark: bytes | None, revision: int) -> bytes:
    """Return a mark under which a customer's next life begins after `revision`; without one it refuses nothing."""
    known = read_json(mark, Mark) if mark is not None else Mark(NEVER, 0)
    return msgspec.json.encode(Mark(known.at, max(known.revision, revision)))


def dated(control: Control, clock: Clock, watermark: int, zone: ZoneInfo) -> Control:
    """Return an erasure with a time: its own, else the watermark's (event clock), else that of its publishing.

    Producers may write any number as a record's time; where it is none of the calendar's, the watermark stands in.
    """
    if control.at is not None:
        return control
    at = watermark
    if clock == "wall":
        with suppress(ValueError, OverflowError, OSError):
            at = local_seconds(datetime.fromtimestamp(control.published_ms / 1000, UTC), zone)
    return msgspec.structs.replace(control, at=at)


def erase(
    context: Context,
    control: Control,
    blob: bytes | None,
    earlier: Mark | None,
    key: bytes,
    rows: dict[str, bytes],
) -> Decision:
    """Take a customer out of states, statistics and the rows left for learning; leave a mark and a tombstone.

    The control has its time (`dated`). rows: `sample:<n>` and `touched:<n>` values that may hold his vector.
    """
    state = context.state
    assert control.at is not None
    statistics, replaced = taken_out(context, control.customer, blob, rows)
    revision = max(int(decode_states([blob]).heads["revision"][0]), earlier.revision if earlier else 0)
    mark = Mark(max(control.at, earlier.at if earlier else control.at), revision)
    hashed, value = keyed_hash(key, control.customer), msgspec.json.encode(mark)
    headers = event_headers(control.offset)
    emissions = (
        Emission("segments", control.customer.encode(), None, headers),
        Emission("erasures", hashed.encode(), value, headers),
    )
    counts = {"lines": 1, "erasures": 1, "erased_customers": int(blob is not None)}
    return Decision(
        state=msgspec.structs.replace(
            state,
            applied=control.offset + 1,
            erased=state.erased + 1,
            counters=state.counted(counts),
            tally=without(state, control.customer, blob, context.rules.horizon_days),
        ),
        statistics=statistics,
        outbox=Outbox(emissions),
        deleted=[control.customer] if blob is not None else [],
        marks={hashed: value},
        replaced=replaced,
    )


def taken_out(
    context: Context, customer: str, blob: bytes | None, rows: dict[str, bytes]
) -> tuple[Statistics, dict[str, bytes]]:
    """Return the statistics without a customer, and those of the learning rows that held his vector, without it."""
    state, bundle = context.state, context.bundle
    states = decode_states([blob])
    statistics = context.statistics
    if blob is not None and _is_counted(state, customer, states):
        ledger = within_horizon(states, state.day - context.rules.horizon_days)
        scores = score(ledger, states.heads["first_day"], state.day, bundle)
        statistics = statistics - scores.statistics(np.ones(1, np.bool_))
    left = {name: _without(data, position(customer), len(bundle.features)) for name, data in rows.items()}
    return statistics, {name: data for name, data in left.items() if data != rows[name]}


def without(state: PartitionState, customer: str, blob: bytes | None, horizon_days: int) -> Tally | None:
    """Return the partition's tally without a customer, who went to nowhere."""
    if state.tally is None or blob is None:
        return state.tally
    states = decode_states([blob])
    label = states.heads["segment"].astype(np.int64)
    ledger = within_horizon(states, state.day - horizon_days)
    counted = np.array([_is_counted(state, customer, states)])
    flow = {(int(label[0]), NOBODY, "erasure"): 1} if label[0] else {}
    return state.tally.changed(totals_of(label, ledger, counted), (), flow)


def _is_counted(state: PartitionState, customer: str, states: States) -> bool:
    """Say whether the running sweep, or an event under it, has counted a customer (PROTOCOL C5)."""
    sweep = state.sweep
    swept = sweep.cursor is None or position(customer) <= sweep.cursor
    return bool(swept or states.heads["sweep"][0] == sweep.number)


def _without(data: bytes, place: int, d: int) -> bytes:
    positions, coordinates = read_rows(data, d)
    kept = positions != place
    left: bytes = np.column_stack([positions[kept], coordinates[kept]]).astype(SAMPLE_ROW).tobytes()
    return left
