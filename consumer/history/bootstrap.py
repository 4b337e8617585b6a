r"""From history to a first generation of states and a first model, all unlabelled (PROTOCOL H1, H2).

History --fold--> ledger --vectors--> k, centroids, names --> Bundle 1
              \--> states by partition --> Redis, a generation beside the live one --> flip
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from consumer.history.csv_source import History, fold_history
from consumer.partition import PartitionState, Rules, Sweep, encode_state
from consumer.scoring import within_horizon
from features.codec import MAX_SEEN, Seen, States, blank_heads, encode_states
from features.identity import position
from features.ledger import fold
from features.redis_generation import Binding, GenerationLoader
from features.transaction import DAY_SECONDS
from features.vector import vectors
from models.bundle import Bundle, content_hash
from models.redis_registry import RedisRegistry
from models.selection import Choice, Terms, choose_k, fit, found

SEED = 20111209

Progress = Callable[[str, int, int], None]
"""Told a stage's name, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a history becomes: m customers as of `day`, and the model fitted to them.

    seen_dropped: event ids above the cap a customer. choice: how k was found, None where it was given.
    """

    customers: tuple[str, ...]
    states: States
    bundle: Bundle
    choice: Choice | None
    day: int
    cutoff: int | None
    seen_dropped: int


def prepare(
    history: History,
    rules: Rules,
    *,
    day: int,
    features: tuple[str, ...],
    margin: float,
    learner: str,
    k: int | None,
    progress: Progress,
) -> Prepared:
    """Fold a history, choose k (unless given), cluster, name. Raises ValueError where there is nobody to cluster."""
    customers, ledger = fold_history(history)
    m = len(customers)
    cutoff = int(history.time.max()) if len(history) else None
    seen, dropped = _seen(history, customers, rules)
    heads = blank_heads(m)
    np.minimum.at(heads["first_day"], ledger.owner, ledger.day.astype(np.int32))
    np.maximum.at(heads["last_day"], ledger.owner, ledger.day.astype(np.int32))
    kept = fold(within_horizon(States(heads, ledger, seen), day - rules.horizon_days))
    states = States(heads, kept, seen)
    described = vectors(kept, m, day, heads["first_day"].astype(np.int64), features)
    coordinates = described.coordinates(features)[described.clustered]
    if len(coordinates) < 2:
        raise ValueError(
            f"{len(coordinates)} of {m} customers have a positive net and order in the {rules.horizon_days} days to "
            "the last one: nobody to cluster. Is the history old? --clock event?"
        )
    choice = None if k is not None else choose_k(coordinates, SEED, lambda done, of: progress("choosing k", done, of))
    chosen = k if choice is None else choice.k
    assert chosen is not None
    progress("clustering", 0, 1)
    terms = Terms(day, features, learner, rules.horizon_days, margin)
    bundle = found(fit(coordinates, chosen, SEED), terms)
    progress("clustering", 1, 1)
    return Prepared(customers, states, bundle, choice, day, cutoff, dropped)


def _seen(history: History, customers: Sequence[str], rules: Rules) -> tuple[Seen, int]:
    """Return the event ids of the last days, which may come again (PROTOCOL H3), and how many were too many."""
    none = np.empty(0, np.int64)
    if not len(history):
        return Seen(none, np.empty(0, np.uint64), none), 0
    last_day = int(history.day.max())
    recent = history.take(history.day >= last_day - rules.dedupe_days)
    index = {customer: i for i, customer in enumerate(customers)}
    owner = np.array([index[customer] for customer in recent.customer_ids()], np.int64)
    ids = recent.lines().event_id
    day = np.full(len(ids), last_day)
    given = ids != 0
    owner, ids, day, line_day = owner[given], ids[given], day[given], recent.day[given]
    # Newest first within a customer, so that the cap drops the oldest.
    order = np.lexsort((ids, -line_day, owner))
    owner, ids, day = owner[order], ids[order], day[order]
    counts = np.bincount(owner, minlength=len(customers))
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < MAX_SEEN
    return Seen(owner[kept], ids[kept], day[kept]), int((~kept).sum())


def load(
    prepared: Prepared,
    loader: GenerationLoader,
    registry: RedisRegistry,
    binding: Binding,
    *,
    applied: Mapping[int, int],
    marks: Mapping[int, Mapping[str, bytes]],
    partition_of: Callable[[str], int],
    progress: Progress,
) -> None:
    """Load all partitions beside what is live, then flip (H1). applied: each partition's first offset to read."""
    states, bundle = prepared.states, prepared.bundle
    home = np.array([partition_of(customer) for customer in prepared.customers], np.int64)
    for partition in range(binding.partitions):
        progress("loading", partition, binding.partitions)
        loader.drop(partition)
        chosen = np.flatnonzero(home == partition)
        names = [prepared.customers[i] for i in chosen.tolist()]
        loader.load(partition, names, [position(name) for name in names], encode_states(states, chosen))
        loader.put_marks(partition, dict(marks.get(partition, {})))
        sweep = Sweep(0, prepared.day, bundle.version, content_hash(bundle), cursor=None)
        watermark = prepared.cutoff if prepared.cutoff is not None else prepared.day * DAY_SECONDS
        state = PartitionState(applied[partition], sweep, watermark, erased=len(marks.get(partition, {})))
        loader.put_state(partition, encode_state(state))
    registry.publish(bundle, expected=registry.current())
    loader.finish(binding)
    progress("loading", binding.partitions, binding.partitions)
