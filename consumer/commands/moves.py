"""`history`: a customer's moves between segments, as his state remembers them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from consumer.commands.cli_output import Output, plain, table
from consumer.commands.lookup import Opened, opened, say_unknown
from consumer.commands.place import Place
from consumer.exits import ExitCode, Stop
from consumer.partition import iso
from consumer.scoring import named_segment
from features.codec import SCHEMA_OF_MOVES, decode_states
from features.identity import canonical_id
from features.moves import CAUSES, MAX_MOVES
from features.redis_generation import Binding
from models.bundle import Bundle, Segment, segment_of
from models.redis_registry import RedisRegistry


class Move(msgspec.Struct, frozen=True, rename={"source": "from", "target": "to"}):
    """One move. source: None where he had no segment yet; revision: of the output record that told of it."""

    day: str
    source: Segment | None
    target: Segment
    cause: str
    model_version: int
    revision: int


class CustomerHistory(msgspec.Struct, frozen=True):
    """What is remembered. complete: whether the first move is the one that gave him his first segment."""

    customer_id: str
    segment: Segment | None
    revision: int
    complete: bool
    moves: list[Move]


class Names:
    """Segments by id under a model; of one that is gone, or that the model has not, the id is left."""

    def __init__(self, registry: RedisRegistry) -> None:
        self._registry = registry
        self._known: dict[int, Bundle | None] = {}

    def of(self, segment: int, *versions: int) -> Segment:
        """Return a segment as the first of some models that has it calls it; one that none has is named by its id."""
        models = [self._model(version) for version in versions]
        having = (bundle for bundle in models if bundle is not None and segment_of(bundle, segment))
        return named_segment(next(having, None), segment)

    def _model(self, version: int) -> Bundle | None:
        if version not in self._known:
            self._known[version] = self._registry.load(version)
        return self._known[version]


def refuse_forgetful(namespace: str, binding: Binding) -> None:
    """Raise `Stop` where the state is still written in a schema that keeps nothing of the past."""
    if binding.schema < SCHEMA_OF_MOVES:
        raise Stop(
            ExitCode.USAGE,
            f"the state of {namespace} is written in schema {binding.schema}, which remembers nothing of the past: run "
            "`segmenter upgrade` once every worker runs this version; what comes then is kept",
        )


def show_moves(place: Place, text: str, output: Output) -> None:
    """Print a customer's moves, or that he is unknown. Raises `Stop`, `StoreError`."""
    customer = canonical_id(text)
    found = moves_of(place, customer)
    if found is None:
        say_unknown(place, customer, output)
    rows = [
        (
            move.day,
            move.source.name if move.source else "",
            move.target.name,
            move.cause,
            move.model_version,
            move.revision,
        )
        for move in found.moves
    ]
    segment = found.segment.name if found.segment else "(none yet: the first sweep gives it)"
    earlier = "" if found.complete else f"earlier moves are not kept: the newest {MAX_MOVES}, since the last upgrade"
    output.result(
        found,
        f"[bold]{plain(found.customer_id)}[/bold]  {segment}, revision {found.revision}",
        "",
        table(None, ["day", "from", "to", "cause", "model>", "revision>"], rows),
        earlier,
    )


def moves_of(place: Place, customer: str) -> CustomerHistory | None:
    """Read a customer's moves, the oldest first; None for an unknown id. Raises `Stop`, `StoreError`."""
    return moves_in(opened(place.settings), customer)


def moves_in(state: Opened, customer: str) -> CustomerHistory | None:
    """Read a customer's moves from a state that is open. Raises `Stop`, `StoreError`."""
    refuse_forgetful(state.settings.namespace, state.binding)
    partition = state.home(customer)
    blob = state.store.load({partition: [customer]})[partition][0]
    if blob is None:
        return None
    registry = state.registry
    names = Names(registry)
    states = decode_states([blob])
    label, revision = int(states.heads["segment"][0]), int(states.heads["revision"][0])
    moves = [
        _shown(dict(zip(record.dtype.names, record.item(), strict=True)), names) for record in states.moves.records
    ]
    version = moves[-1].model_version if moves else registry.current() or 0
    segment = names.of(label, version) if label else None
    complete = not label or bool(moves and moves[0].source is None)
    return CustomerHistory(customer, segment, revision, complete, moves)


def _shown(move: Mapping[str, int], names: Names) -> Move:
    version = move["version"]
    return Move(
        day=iso(move["day"]),
        source=names.of(move["source"], version) if move["source"] else None,
        target=names.of(move["target"], version),
        cause=CAUSES[move["cause"]],
        model_version=version,
        revision=move["revision"],
    )
