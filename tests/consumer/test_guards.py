"""What a worker compares the world with: the topic's id and partitions, and what Kafka remembers of a lost state."""

from __future__ import annotations

import pytest

from consumer.exits import ExitCode, Stop
from consumer.guards import MISSING_FOR_S, TopicGuard, state_gone
from consumer.ports import Committed, TopicFacts


def guard() -> TopicGuard:
    return TopicGuard("transactions", "id-1", 4)


class TestTopic:
    def test_the_same_topic_is_let_through(self) -> None:
        guard().check(TopicFacts("id-1", 4), {0, 3}, 0.0)

    def test_what_cannot_be_told_is_let_through(self) -> None:
        guard().check(None, (), 0.0)
        TopicGuard("transactions", None, 4).check(TopicFacts("whichever", 4), (), 0.0)

    @pytest.mark.parametrize(
        ("facts", "said"),
        [
            (TopicFacts("id-2", 4), "deleted and created again"),
            (TopicFacts("id-2", 6), "deleted and created again"),
            (TopicFacts("id-1", 6), "has 6 partitions, the state was made for 4.*repartition"),
        ],
    )
    def test_another_topic_stops_with_4(self, facts: TopicFacts, said: str) -> None:
        with pytest.raises(Stop, match=said) as caught:
            guard().check(facts, (), 0.0)
        assert caught.value.code is ExitCode.TOPOLOGY

    def test_a_partition_beyond_the_state_stops_before_the_metadata_says_so(self) -> None:
        with pytest.raises(Stop, match="repartition"):
            guard().check(TopicFacts("id-1", 4), {1, 4}, 0.0)

    def test_a_topic_is_gone_when_it_stays_unknown(self) -> None:
        watching = guard()
        nothing = TopicFacts("", 0)
        watching.check(nothing, (), 10.0)
        watching.check(nothing, (), 10.0 + MISSING_FOR_S - 0.1)
        watching.check(TopicFacts("id-1", 4), (), 12.0)  # a broker that had just started
        watching.check(nothing, (), 20.0)
        with pytest.raises(Stop, match="does not exist any more"):
            watching.check(nothing, (), 20.0 + MISSING_FOR_S)


class TestState:
    def test_a_namespace_that_never_committed_never_had_a_state(self) -> None:
        assert state_gone("shop", {}, {0: (0, 9)}) is None
        assert state_gone("shop", {0: None, 1: Committed(5, "set by hand")}, {0: (0, 9), 1: (0, 9)}) is None

    def test_what_was_applied_and_what_the_log_holds_is_said(self) -> None:
        stop = state_gone("shop", {0: Committed(7, "2:31"), 1: None}, {0: (0, 9), 1: (0, 4)})
        assert stop is not None
        assert stop.code is ExitCode.INPUT_LOST
        assert "partition 0: up to offset 7 applied, the log holds 0 to 9" in str(stop)
        assert "partition 1: nothing known applied, the log holds 0 to 4" in str(stop)
        assert "`segmenter bootstrap --from-topic` reads it again" in str(stop)

    def test_a_log_that_begins_later_needs_a_history(self) -> None:
        stop = state_gone("shop", {0: Committed(7, "2:31")}, {0: (0, 9), 1: (3, 4)})
        assert stop is not None
        assert "partition 1 lacks its first 3 records" in str(stop)
        assert "--from-topic FILE" in str(stop)

    def test_of_many_partitions_those_that_lost_something_come_first(self) -> None:
        bounds = {p: (5 if p == 30 else 0, 9) for p in range(40)}
        stop = state_gone("shop", {0: Committed(7, "2:31")}, bounds)
        assert stop is not None
        assert "Redis holds no state of namespace shop" in str(stop)
        assert str(stop).index("partition 30: nothing") < str(stop).index("partition 0: up to")
        assert "partition 39" not in str(stop)
