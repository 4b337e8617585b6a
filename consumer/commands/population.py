"""Everybody in a namespace at once: labels and vectors as of the partitions' day, read from the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from consumer.commands.cli_output import Tell
from consumer.commands.customers import everybody
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.history.profile import Profile, profiles, values_of
from consumer.partition import PartitionState, decode_state
from consumer.scoring import first_days, within_horizon
from consumer.service import open_state
from consumer.settings import Settings
from features.codec import States
from features.ledger import Ints
from features.moves import reverted
from features.redis_generation import Binding
from features.redis_store import RedisStore
from features.vector import Flags, Floats
from models.bundle import Bundle, same_space
from models.centroids import NOWHERE, Indices, distances_under, nearest, publish_labels
from models.redis_registry import RedisRegistry
from models.scoring import score


@dataclass(frozen=True, slots=True)
class Namespace:
    """What a namespace holds beside its customers."""

    settings: Settings
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
        return distances_under(bundle, self.coordinates)


def open_namespace(place: Place) -> Namespace:
    """Return what a namespace holds. Raises `Stop` where it holds nothing, or no model that can be read."""
    settings = place.settings
    client, binding, store = open_state(settings)
    registry = RedisRegistry(client, settings.namespace, binding.generation)
    version = registry.current()
    bundle = readable(None if version is None else registry.load(version), version)
    fences = store.fences(range(binding.partitions))
    return Namespace(settings, binding, store, registry, {p: decode_state(f.state) for p, f in fences.items()}, bundle)


def readable(bundle: Bundle | None, version: int | None) -> Bundle:
    """Return a model that the registry was asked for. Raises `Stop` where it had none."""
    if bundle is None:
        raise Stop(ExitCode.INCOMPATIBLE, f"model version {version} cannot be read: bootstrap with --replace")
    return bundle


def population(found: Namespace, bundle: Bundle | None = None, progress: Tell = lambda *_: None) -> Population:
    """Read all customers, each as of his partition's day and in the space of a model, by default the live one's."""
    bundle = bundle or found.bundle
    chunks = everybody(found.settings, found.store, found.states, "reading customers", progress)
    parts = [_scored(bundle, state.day, ids, states) for state, ids, states in chunks]
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


def _scored(bundle: Bundle, day: int, ids: list[str], states: States) -> Population:
    known = score(within_horizon(states, day - bundle.horizon_days), first_days(states, day), day, bundle)
    values = values_of(states, day, bundle.horizon_days)
    labels = states.heads["segment"].astype(np.int64)
    held = labels if bundle.replaced is None else reverted(states.moves, labels, *bundle.replaced)
    return Population(ids, labels, values, known.coordinates, known.vectors.clustered, known.vectors.lapsed, held)
