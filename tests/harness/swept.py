"""A shop in a real store as a first sweep leaves it: no Kafka, no worker; for what reads states and writes none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from consumer.commands.lookup import opened
from consumer.history.bootstrap import fold_files
from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import read_history
from consumer.partition import START
from consumer.ports import TopicFacts
from consumer.scoring import first_days, within_horizon
from consumer.service import NewGeneration, connect_redis, make_generation
from consumer.settings import Settings
from features.codec import decode_states, encode_states
from features.redis_generation import GenerationLoader
from models.scoring import score


def swept_shop(settings: Settings, data: Path, *, partitions: int = 4, k: int = 3) -> list[str]:
    """Load a history as the live generation, in place of another one; everybody is labelled. Return all ids."""
    history = read_history([data], CsvOptions())
    new = NewGeneration(
        facts=TopicFacts("none", partitions),
        day=int(history.day.max()),
        cutoff=int(history.time.max()),
        has_ids=history.has_ids,
        applied=dict.fromkeys(range(partitions), 0),
        marks={},
    )
    client = connect_redis(settings)
    make_generation(settings, client, fold_files(history, settings.rules), new, k=k, progress=lambda *_: None)
    state = opened(settings)
    loader = GenerationLoader(client, settings.namespace, state.binding.generation)
    bundle = state.model(1)
    assert bundle is not None
    ids: list[str] = []
    for partition in range(partitions):
        chunk = state.store.chunk(partition, START, 1 << 20)
        states = decode_states([blob for blob in chunk.blobs if blob is not None])
        first = first_days(states, new.day)
        scores = score(within_horizon(states, new.day - settings.horizon_days), first, new.day, bundle)
        heads = states.heads
        heads["segment"] = scores.labels(np.zeros(len(heads), np.int64), bundle)
        heads["entered_day"], heads["revision"] = new.day, 1
        loader.load(partition, chunk.ids, chunk.positions, encode_states(states, np.arange(len(heads))))
        ids += chunk.ids
    return ids
