"""A kept state meets a new embedded broker: its topics are empty and have other ids, so reading begins at 0 again.

Only for the embedded pair, whose broker loses everything at its end by design. On a real one a topic of
another id is a reason to stop (exit code 4).
"""

from __future__ import annotations

import msgspec

from consumer.commands.cli_topics import create_embedded
from consumer.commands.cli_verify import REBOUND
from consumer.commands.place import Place
from consumer.messages import Outbox, encode_outbox
from consumer.partition import decode_state, encode_state
from consumer.service import connect_redis
from consumer.transport.kafka_admin import topic_facts
from features.redis_generation import GenerationLoader, read_binding
from features.redis_store import RedisStore
from features.store import Commit, Fence


def begin_embedded(place: Place) -> None:
    """Create the topics; let a state that an earlier run left read them from their beginning."""
    settings, kafka = place.settings, place.broker()
    create_embedded(settings, kafka)
    client = connect_redis(settings)
    binding = read_binding(client, settings.namespace)
    if binding is None:
        return
    assert place.directory is not None, "a pair runs on a directory"
    (place.directory / REBOUND).touch()
    store = RedisStore(client, settings.namespace, binding.generation)
    for partition, fence in store.fences(range(binding.partitions)).items():
        _from_the_beginning(store, partition, fence)
    topic_id = topic_facts(kafka, settings.transactions_topic).topic_id
    loader = GenerationLoader(client, settings.namespace, binding.generation)
    loader.finish(msgspec.structs.replace(binding, topic_id=topic_id))


def _from_the_beginning(store: RedisStore, partition: int, fence: Fence) -> None:
    """Let a partition read from offset 0, in a commit of its own whose outbox is empty."""
    state = decode_state(fence.state)
    epoch = fence.epoch + 1
    store.raise_epoch(partition, epoch)
    commit = Commit(
        epoch=epoch,
        parent=fence.last,
        id=f"{epoch}:{int(fence.last.partition(':')[2]) + 1}",
        state=encode_state(msgspec.structs.replace(state, applied=0)),
        outbox=encode_outbox(Outbox()),
        sweep=state.sweep.number,
    )
    store.commit(partition, commit)
