"""All customers of a namespace as they are stored, a chunk at a time; workers may run meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from consumer.commands.cli_output import Tell
from consumer.erasure import keyed_hash
from consumer.exits import ExitCode, Stop
from consumer.partition import START, PartitionState
from consumer.settings import Settings
from features.codec import InvalidState, States, decode_states
from features.identity import POSITION_BITS
from features.redis_store import RedisStore

CHUNK = 5_000
"""Customers that are in memory at a time."""


def everybody(
    settings: Settings, store: RedisStore, partitions: Mapping[int, PartitionState], stage: str, progress: Tell
) -> Iterator[tuple[PartitionState, list[str], States]]:
    """Yield (where the partition stands, ids, states) of some customers, none of them empty, and tell how far it is.

    Raises `Stop` where a state cannot be trusted, `StoreError`.
    """
    of = 1000 * len(partitions)
    progress(stage, 0, of)
    for number, (partition, state) in enumerate(partitions.items()):
        for share, ids, blobs in chunks(store, partition):
            if ids:
                yield state, ids, decoded(settings, ids, blobs)
            progress(stage, int(1000 * (number + share)), of)
    progress(stage, of, of)


def chunks(store: RedisStore, partition: int) -> Iterator[tuple[float, list[str], list[bytes]]]:
    """Yield (share of the partition behind it, ids, states); who was erased meanwhile is not among them."""
    after, more = START, True
    while more:
        chunk = store.chunk(partition, after, CHUNK)
        more = len(chunk.ids) >= CHUNK
        after = chunk.positions[-1] if chunk.ids else after
        found = [(name, blob) for name, blob in zip(chunk.ids, chunk.blobs, strict=True) if blob is not None]
        yield max(after, 0) / (1 << POSITION_BITS), [name for name, _ in found], [blob for _, blob in found]


def decoded(settings: Settings, ids: list[str], blobs: list[bytes]) -> States:
    """Return the states of customers; one that cannot be trusted is named by its keyed hash."""
    try:
        return decode_states(blobs)
    except InvalidState as error:
        hashed = keyed_hash(settings.erasure_key_bytes, ids[error.index])[:16]
        raise Stop(
            ExitCode.INCOMPATIBLE,
            f"the state of customer {hashed} (keyed hash) cannot be trusted: {error.problem}; put it back from a "
            "backup, or bootstrap; nothing was written",
        ) from error
