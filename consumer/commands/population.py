"""Everybody in a namespace at once: labels and vectors as of the partitions' day, read from the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.history.profile import Profile, profiles, values_of
from consumer.partition import START, PartitionState, decode_state
from consumer.scoring import within_horizon
from consumer.service import open_state
from features.codec import NO_DAY, States, decode_states
from features.ledger import Ints
from features.moves import reverted
from features.redis_generation import Binding
from features.redis_store import RedisStore
from features.vector import Flags, Floats
from models.bundle import Bundle, centroid_array, same_space, scale_array
from models.centroids import NOWHERE, Indices, distances, nearest, publish_labels
from models.redis_registry import RedisRegistry
from models.scoring import score

CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Namespace:
    """What a namespace holds beside its customers."""

    binding: Binding
    store: RedisStore
    registry: RedisRegistry
    states: dict[int, PartitionState]
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Population:
    """n customers as one model sees them. labels: published segment ids, int64; values: recency, frequency, monetary;
    coordinates: int64 (n, d); clustered, lapsed: bool (n,); anchors: the labels to which its first sweep holds them.
    """

    ids: list[str]
    labels: Ints
    values: dict[str, Floats]
    coordinates: Ints
    clustered: Flags
    lapsed: Flags
    anchors: Ints

    def clusters(self, bundle: Bundle) -> Indices:
        """Return each one's nearest centroid in a model of the same space, NOWHERE outside the clusters; (n,)."""
        return np.where(self.clustered, nearest(self._distances(bundle)), NOWHERE)

    def relabelled(self, bundle: Bundle) -> Ints:
        """Return the segment ids that a sweep under a model of the same space publishes, int64 (n,)."""
        return publish_labels(self.anchors, self._distances(bundle), self.clustered, self.lapsed, bundle)

    def _distances(self, bundle: Bundle) -> Floats:
        return distances(self.coordinates, centroid_array(bundle), scale_array(bundle))


def open_namespace(place: Place) -> Namespace:
    """Return what a namespace holds. Raises `Stop` where it holds nothing, or no model that can be read."""
    settings = place.settings
    client, binding, store = open_state(settings)
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    version = registry.current()
    bundle = None if version is None else registry.load(version)
    if bundle is None:
        raise Stop(ExitCode.INCOMPATIBLE, f"model version {version} cannot be read: bootstrap with --replace")
    fences = store.fences(range(binding.partitions))
    return Namespace(binding, store, registry, {p: decode_state(f.state) for p, f in fences.items()}, bundle)


def population(found: Namespace, bundle: Bundle | None = None) -> Population:
    """Read all customers, each as of his partition's day and in the space of a model, by default the live one's."""
    bundle = bundle or found.bundle
    parts = [_scored(found, bundle, day, ids, states) for day, ids, states in _chunks(found)]
    if not parts:
        none = np.empty(0, np.int64)
        nobody = none.astype(np.bool_)
        return Population([], none, {}, none.reshape(0, len(bundle.features)), nobody, nobody, none)
    return Population(
        [customer for part in parts for customer in part.ids],
        np.concatenate([part.labels for part in parts]),
        {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
        np.concatenate([part.coordinates for part in parts]),
        np.concatenate([part.clustered for part in parts]),
        np.concatenate([part.lapsed for part in parts]),
        np.concatenate([part.anchors for part in parts]),
    )


def seen_by(found: Namespace, everybody: Population, known: Bundle, bundle: Bundle) -> Population:
    """Return the customers in the space of another model than `known`, read again only where the spaces differ."""
    return everybody if same_space(known, bundle) else population(found, bundle)


def segment_profiles(found: Namespace, everybody: Population) -> tuple[Profile, ...]:
    """Return the segments in figures, by the labels as published."""
    return profiles(everybody.labels, everybody.values, found.bundle) if everybody.ids else ()


def _chunks(found: Namespace) -> Iterator[tuple[int, list[str], States]]:
    for partition, state in found.states.items():
        after, more = START, True
        while more:
            chunk = found.store.chunk(partition, after, CHUNK)
            more = len(chunk.ids) >= CHUNK
            if chunk.ids:
                after = chunk.positions[-1]
                yield state.day, chunk.ids, decode_states(chunk.blobs)


def _scored(found: Namespace, bundle: Bundle, day: int, ids: list[str], states: States) -> Population:
    heads = states.heads
    first = np.where(heads["first_day"] == NO_DAY, day, heads["first_day"]).astype(np.int64)
    known = score(within_horizon(states, day - found.binding.horizon_days), first, day, bundle)
    values = values_of(states, day, found.binding.horizon_days)
    labels = heads["segment"].astype(np.int64)
    held = labels if bundle.replaced is None else reverted(states.moves, labels, *bundle.replaced)
    return Population(ids, labels, values, known.coordinates, known.vectors.clustered, known.vectors.lapsed, held)
