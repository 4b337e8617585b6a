"""Mistakes of a first day, seen in the counters of a running worker and named once each (issue: "did you mean ...")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ENOUGH = 100
"""Lines before a share says anything."""
PARTITIONER = (
    "events come without the key customer_id, or partitioned by another rule ({counts}): the key is customer_id in "
    "UTF-8 and the partitioner murmur2, the Java client's default (librdkafka: partitioner=murmur2_random)"
)


class Mistake(NamedTuple):
    """What a share of the lines above `share`, refused for one of `reasons`, is a sign of."""

    reasons: tuple[str, ...]
    share: float
    advice: str
    enough: int = ENOUGH


MISTAKES = (
    Mistake(
        ("too_late", "before_cutoff"),
        0.5,
        "most events are refused for their age ({counts}): did you mean --clock event, for old data? "
        "Or does the history end later than the stream begins?",
    ),
    Mistake(
        ("future", "ahead"),
        0.5,
        "most events are refused as ahead of the clock ({counts}): is the time zone right, or a date in milliseconds?",
    ),
    Mistake(("key_missing", "key_mismatch"), 0.02, PARTITIONER),
    # One is enough: the right key elsewhere comes from a producer that splits customers in two (FAULTS 28).
    Mistake(("foreign_partition",), 0.0, PARTITIONER, enough=1),
    Mistake(
        ("malformed", "schema", "schema_version", "empty"),
        0.5,
        "most records are no events ({counts}): is this the right topic? docs/topics.md has the fields",
    ),
    Mistake(
        ("currency",),
        0.5,
        "most events are in another currency ({counts}): SEGMENTER_CURRENCY names the one that counts",
    ),
    Mistake(
        ("guests",), 0.9, "almost all events are without a customer_id ({counts}): those are counted, not segmented"
    ),
)


class Advisor:
    """Adds up what a worker counts and gives each advice once."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._given: set[Mistake] = set()

    def hear(self, before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
        """Take the counters of a partition before and after a commit; yield advice that is due."""
        self._counts.update({name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)})
        lines = self._counts["lines"]
        for mistake in MISTAKES:
            counts = {r: self._counts[f"refused.{r}"] + self._counts[r] for r in mistake.reasons}
            due = lines >= mistake.enough and sum(counts.values()) > mistake.share * lines
            if due and mistake not in self._given:
                self._given.add(mistake)
                named = ", ".join(f"{reason} {n:,}" for reason, n in counts.items() if n)
                yield mistake.advice.format(counts=f"{named} of {lines:,}")
