"""Is the world still the one that the state was made for? Asked at the start, and by every turn of a worker.

    the topic   its id and number of partitions, as the client's metadata has them    FAULTS 25, 27: exit code 4
    the state   gone from Redis, while Kafka remembers what was applied               FAULTS 9: exit code 3

Both only judge; nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from consumer.exits import ExitCode, Stop
from consumer.ports import Committed, TopicFacts
from consumer.recovery import parse_commit_id

MISSING_FOR_S = 5.0
"""A topic that the brokers do not know for so long was deleted; a broker that has just started may need a moment."""
EVERY_PARTITION = 12
"""Of more partitions than this a message shows those first that lost something."""


@dataclass(slots=True)
class TopicGuard:
    """Compares the input topic with the one that the state was made from.

    topic_id None: cannot be told; may_grow: more partitions than the state has are let through.
    """

    topic: str
    topic_id: str | None
    partitions: int
    may_grow: bool = False
    missing_since: float | None = None

    def check(self, facts: TopicFacts | None, assigned: Collection[int], elapsed: float) -> None:
        """Raise `Stop` where the topic is another one.

        facts: None where unknown, 0 partitions: there is none; elapsed: seconds of a clock that never steps back.
        """
        if assigned and max(assigned) >= self.partitions and not self.may_grow:
            raise Stop(ExitCode.TOPOLOGY, self._grown(max(assigned) + 1))
        if facts is None or self.topic_id is None:
            return
        if facts.partitions == 0:
            self.missing_since = elapsed if self.missing_since is None else self.missing_since
            if elapsed - self.missing_since >= MISSING_FOR_S:
                raise Stop(
                    ExitCode.TOPOLOGY,
                    f"topic {self.topic} does not exist any more: it was deleted; see docs/operations.md, exit code 4",
                )
            return
        self.missing_since = None
        # First the id: a topic made anew may have another number of partitions as well.
        if facts.topic_id != self.topic_id:
            raise Stop(
                ExitCode.TOPOLOGY,
                f"topic {self.topic} was deleted and created again since the bootstrap: its offsets mean something "
                "else now; `segmenter bootstrap --replace` makes a new state, from files or --from-topic; see "
                "docs/operations.md, exit code 4",
            )
        if facts.partitions != self.partitions and not (self.may_grow and facts.partitions > self.partitions):
            raise Stop(ExitCode.TOPOLOGY, self._grown(facts.partitions))

    def _grown(self, partitions: int) -> str:
        return (
            f"topic {self.topic} has {partitions} partitions, the state was made for {self.partitions}: customers "
            "would change their partition; `segmenter repartition` moves their states; see docs/operations.md, exit "
            "code 4"
        )


def state_gone(
    namespace: str, committed: Mapping[int, Committed | None], bounds: Mapping[int, tuple[int, int]]
) -> Stop | None:
    """Return why nothing may go on where Redis holds no state but Kafka has commits of ours; None where it has none.

    bounds: (earliest, end) of the input's partitions.
    """
    ours = {p: c for p, c in committed.items() if c is not None and parse_commit_id(c.metadata) is not None}
    if not ours:
        return None
    gone = {p: first for p, (first, _) in bounds.items() if first > 0}
    said = []
    for partition in sorted(bounds, key=lambda p: (p not in gone, p))[:EVERY_PARTITION]:
        first, end = bounds[partition]
        at = f"up to offset {ours[partition].offset}" if partition in ours else "nothing known"
        said.append(f"partition {partition}: {at} applied, the log holds {first} to {end}")
    if len(bounds) > EVERY_PARTITION:
        said.append("...")
    if gone:
        worst = max(gone, key=lambda p: gone[p])
        remedy = (
            f"The log no longer holds everything (partition {worst} lacks its first {gone[worst]} records): restore a "
            "backup of Redis, or `segmenter bootstrap --from-topic FILE` with a history that covers what is missing"
        )
    else:
        remedy = (
            "The log begins at 0 everywhere: `segmenter bootstrap --from-topic` reads it again (with the files of the "
            "first bootstrap, if there were any); or restore a backup of Redis"
        )
    return Stop(
        ExitCode.INPUT_LOST,
        f"Redis holds no state of namespace {namespace}, but Kafka has its commits: it was emptied, or is another one. "
        f"{'; '.join(said)}. {remedy}; see docs/operations.md, Redis was emptied",
    )
