r"""From history to a first generation of states and a first model, all unlabelled (PROTOCOL H1, H2).

files, topic --fold--> Folded --vectors--> k, centroids, names --> Bundle 1
                          \--> states by partition --> Redis, a generation beside the live one --> flip
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from consumer.history.csv_source import History, fold_history
from consumer.partition import PartitionState, Rules, Sweep, encode_state
from consumer.scoring import within_horizon
from consumer.tally import Tally
from features.codec import MAX_SEEN, Seen, States, blank_heads, encode_states
from features.identity import position
from features.ledger import Hashes, Ints, Ledger, fold
from features.redis_generation import Binding, GenerationLoader
from features.transaction import DAY_SECONDS
from features.vector import Vectors, vectors
from models.bundle import Bundle, content_hash
from models.redis_registry import RedisRegistry
from models.selection import Choice, Terms, choose_k, fit, found

SEED = 20111209

Progress = Callable[[str, int, int], None]
"""Told a stage's name, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Folded:
    """A history as m customers' ledgers, neither expired nor folded to a cap, and the event ids that may come again.

    cutoff: up to when lines may be in both history and stream (PROTOCOL H3), local seconds, None where nothing is in
    both; newest: time of the newest line. seen_dropped: ids above the cap a customer.
    """

    customers: tuple[str, ...]
    ledger: Ledger
    seen: Seen
    seen_dropped: int
    cutoff: int | None
    newest: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a history becomes: m customers as of `day`, and the model fitted to them.

    choice: how k was found, None where it was given; cutoff, newest, seen_dropped: as of `Folded`.
    """

    customers: tuple[str, ...]
    states: States
    bundle: Bundle
    choice: Choice | None
    day: int
    cutoff: int | None
    newest: int
    seen_dropped: int


def fold_files(history: History, rules: Rules) -> Folded:
    """Fold the lines of files; those dated up to the newest of them may come again in the stream."""
    customers, ledger = fold_history(history)
    newest = int(history.time.max())
    recent = history.take(history.day >= newest // DAY_SECONDS - rules.dedupe_days)
    index = {customer: i for i, customer in enumerate(customers)}
    owner = np.array([index[customer] for customer in recent.customer_ids()], np.int64)
    seen, dropped = remembered(owner, recent.lines().event_id, recent.day, len(customers), newest // DAY_SECONDS)
    return Folded(customers, ledger, seen, dropped, newest, newest)


def prepare(
    folded: Folded,
    terms: Terms,
    *,
    k: int | None,
    progress: Progress,
) -> Prepared:
    """Choose k (unless given), cluster, name. Raises ValueError where there is nobody to cluster."""
    states, described = described_on(folded, terms)
    coordinates = described.coordinates(terms.features, terms.recency_offset)[described.clustered]
    bundle, choice = first_model(coordinates, len(folded.customers), terms, k=k, progress=progress)
    day = terms.day
    return Prepared(folded.customers, states, bundle, choice, day, folded.cutoff, folded.newest, folded.seen_dropped)


def described_on(folded: Folded, terms: Terms) -> tuple[States, Vectors]:
    """Return the states and features of customers as of the terms' day: one's are his own lines' alone."""
    ledger, m, day = folded.ledger, len(folded.customers), terms.day
    heads = blank_heads(m)
    np.minimum.at(heads["first_day"], ledger.owner, ledger.day.astype(np.int32))
    np.maximum.at(heads["last_day"], ledger.owner, ledger.day.astype(np.int32))
    kept = fold(within_horizon(States(heads, ledger, folded.seen), day - terms.horizon_days))
    described = vectors(kept, m, day, heads["first_day"].astype(np.int64), terms.features)
    return States(heads, kept, folded.seen), described


def first_model(
    coordinates: Ints, customers: int, terms: Terms, *, k: int | None, progress: Progress
) -> tuple[Bundle, Choice | None]:
    """Return version 1, and how k was found unless given. coordinates: of those to cluster, of so many customers."""
    if len(coordinates) < 2:
        raise ValueError(
            f"{len(coordinates)} of {customers} customers have a positive net and order in the {terms.horizon_days} "
            "days to the last one: nobody to cluster. Is the history old? --clock event?"
        )
    choice = None if k is not None else choose_k(coordinates, SEED, lambda done, of: progress("choosing k", done, of))
    chosen = k if choice is None else choice.k
    assert chosen is not None
    progress("clustering", 0, 1)
    bundle = found(fit(coordinates, chosen, SEED), terms)
    progress("clustering", 1, 1)
    return bundle, choice


def remembered(owner: Ints, ids: Hashes, line_day: Ints, customers: int, day: int) -> tuple[Seen, int]:
    """Return the event ids that may come again, as accepted on `day` (PROTOCOL H3), and how many were too many.

    owner, ids, line_day: of the lines that count, each (n,); an id of 0 is none.
    """
    given = ids != 0
    owner, ids, line_day = owner[given], ids[given], line_day[given]
    # Newest first within a customer, so that the cap drops the oldest.
    order = np.lexsort((ids, -line_day, owner))
    owner, ids = owner[order], ids[order]
    counts = np.bincount(owner, minlength=customers)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank < MAX_SEEN
    return Seen(owner[kept], ids[kept], np.full(int(kept.sum()), day)), int((~kept).sum())


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
    states = prepared.states
    home = np.array([partition_of(customer) for customer in prepared.customers], np.int64)
    for partition in range(binding.partitions):
        progress("loading", partition, binding.partitions)
        loader.drop(partition)
        chosen = np.flatnonzero(home == partition)
        names = [prepared.customers[i] for i in chosen.tolist()]
        loader.divide(partition, len(names), binding.schema)
        loader.load(partition, names, [position(name) for name in names], encode_states(states, chosen))
    begin(prepared.bundle, prepared.newest, loader, registry, binding, applied=applied, marks=marks)
    progress("loading", binding.partitions, binding.partitions)


def begin(
    bundle: Bundle,
    newest: int,
    loader: GenerationLoader,
    registry: RedisRegistry,
    binding: Binding,
    *,
    applied: Mapping[int, int],
    marks: Mapping[int, Mapping[str, bytes]],
) -> None:
    """Say where each partition of a loaded generation begins, publish its model, flip."""
    for partition in range(binding.partitions):
        loader.put_marks(partition, dict(marks.get(partition, {})))
        sweep = Sweep(0, binding.day, bundle.version, content_hash(bundle), cursor=None)
        erased = len(marks.get(partition, {}))
        state = PartitionState(applied[partition], sweep, newest, erased=erased, tally=Tally())
        loader.put_state(partition, encode_state(state))
    registry.publish(bundle, expected=registry.current())
    loader.finish(binding)
