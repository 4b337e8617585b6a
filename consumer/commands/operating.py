"""`pause`, `resume` and `upgrade`: a word in Redis that every worker reads once a second (features.orders)."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from consumer.commands.cli_output import Output, plain
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.service import connect_redis, open_state
from features.codec import SCHEMA
from features.orders import Pause
from features.redis_generation import raise_schema
from features.redis_pause import end_pause, read_pause, set_pause
from models import bundle
from models.redis_registry import RedisRegistry


class Change(msgspec.Struct, frozen=True):
    """What `pause` or `resume` did. changed: whether it was not so before."""

    namespace: str
    paused: bool
    reason: str
    since: str
    changed: bool


class Upgrade(msgspec.Struct, frozen=True):
    """What `upgrade` did: in which schema states were written before, and are now."""

    namespace: str
    before: int
    after: int


def pause_all(place: Place, reason: str, output: Output) -> None:
    """Set the flag; one that stands keeps its time, and its reason where no other is given."""
    client, namespace = connect_redis(place.settings), place.settings.namespace
    old = read_pause(client, namespace)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    pause = Pause(reason, since) if old is None else Pause(reason or old.reason, old.since)
    set_pause(client, namespace, pause)
    said = f"{namespace} was paused already" if old is not None else f"{namespace} is paused"
    output.result(Change(namespace, True, pause.reason, pause.since, old is None), plain(f"{said}: {pause}"))


def resume_all(place: Place, output: Output) -> None:
    """Take the flag away."""
    client, namespace = connect_redis(place.settings), place.settings.namespace
    old = read_pause(client, namespace)
    end_pause(client, namespace)
    said = f"{namespace} was not paused" if old is None else f"{namespace} goes on; it stood still since {old.since}"
    reason, since = ("", "") if old is None else (old.reason, old.since)
    output.result(Change(namespace, False, reason, since, old is not None), said)


def upgrade_state(place: Place, output: Output) -> None:
    """Raise the binding's schema to the newest known here. Raises `Stop` where it is newer, or changes meanwhile."""
    client, binding, _ = open_state(place.settings)
    namespace = place.settings.namespace
    if binding.schema < SCHEMA and not raise_schema(client, namespace, binding, SCHEMA):
        raise Stop(ExitCode.USAGE, "a bootstrap or a repartition has made another state meanwhile: run it again")
    _upgrade_model(RedisRegistry(client, namespace, binding.generation))
    said = f"the state of {namespace} has schema {SCHEMA}, the newest that this version knows: nothing to do"
    if binding.schema < SCHEMA:
        said = (
            f"states of {namespace} are written in schema {SCHEMA} instead of {binding.schema} by every worker that "
            "is started from now on: start each again"
        )
    output.result(Upgrade(namespace, binding.schema, SCHEMA), said)


def _upgrade_model(registry: RedisRegistry) -> None:
    """Publish the live model in the newest form; where the day's model came between, that one inherits the old form."""
    for _ in range(3):
        number = registry.current()
        live = None if number is None else registry.load(number)
        if live is None or live.schema >= bundle.SCHEMA:
            return
        newer = bundle.successor(live, day=live.day, created_by="republish")
        registry.publish(msgspec.structs.replace(newer, schema=bundle.SCHEMA), expected=live.version)
