"""A dry run decides what the worker then does, and leaves everything as it was."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import timedelta
from itertools import pairwise

from consumer.commands.dry_run import rehearse
from consumer.commands.overlay import OverlayStore
from consumer.partition import decode_state
from features.store import Commit
from tests.harness.memory_store import MemoryStore
from tests.harness.world import FIRST_DAY, TOPICS, World, line


def counted(world: World) -> Counter[str]:
    found: Counter[str] = Counter()
    for state in world.states().values():
        found.update(state.counters)
    return found


def busy(world: World) -> None:
    """A week of lines with everything in it: moves, refusals, repeats, an erasure, silence."""
    for week, customers in ((0, 12), (3, 6), (6, 9)):
        day = FIRST_DAY + timedelta(weeks=week)
        world.publish(*(line(f"c{i}", day, event_id=f"{i}-{week}", unit_price=1.0 + 9 * i) for i in range(customers)))
    world.publish(line("c1", day, event_id="1-6"), line("c2", day, quantity=0), line(None, day))
    world.publish({"type": "erase", "customer_id": "c3"})
    world.tick(FIRST_DAY + timedelta(weeks=9))


def test_it_foretells_what_the_worker_then_does_and_changes_nothing() -> None:
    world = World(partitions=2)
    world.publish(*(line(f"c{i}", FIRST_DAY) for i in range(8)))
    worker = world.settle()
    worker.close()
    before = counted(world)
    busy(world)
    untouched = copy.deepcopy(world.store.parts), len(world.kafka.log(TOPICS.output, 0).entries)

    foretold = rehearse(world.worker()._parts, worker._plan, now=world.clock)

    assert (world.store.parts, len(world.kafka.log(TOPICS.output, 0).entries)) == untouched
    assert set(world.registry.versions) == set(range(1, max(world.registry.versions) + 1))
    published = {topic: records(world, topic) for topic in (TOPICS.output, TOPICS.dead_letters, TOPICS.erasures)}
    world.settle()
    done = counted(world) - before
    assert foretold.counters == {name: n for name, n in done.items() if n}
    assert foretold.records == {topic: records(world, topic) - n for topic, n in published.items()}
    assert foretold.read == done["lines"]


def records(world: World, topic: str) -> int:
    return sum(
        entry.record.key is not None
        for partition in range(world.partitions)
        for entry in world.kafka.log(topic, partition).entries
    )


def commit(number: int, **more: object) -> Commit:
    given = {"epoch": 1, "parent": f"1:{number - 1}", "id": f"1:{number}", "state": b"s", "outbox": b"", "sweep": 1}
    return Commit(**(given | more))  # type: ignore[arg-type]  # some of its own fields


class TestOverlay:
    def store(self, customers: int = 0) -> tuple[MemoryStore, OverlayStore]:
        under = MemoryStore()
        under.begin(0, b"first")
        for i in range(customers):
            under.put(0, f"c{i}", i, b"below")
        return under, OverlayStore(under)

    def test_what_is_written_is_read_back_and_stays_above(self) -> None:
        under, overlay = self.store(3)
        overlay.raise_epoch(0, 1)
        overlay.commit(0, commit(1, states={"c1": b"above", "new": b"above"}, created={"new": 9}, deleted=["c2"]))
        assert overlay.load({0: ["c0", "c1", "c2", "new"]}) == {0: [b"below", b"above", None, b"above"]}
        assert under.load({0: ["c0", "c1", "c2", "new"]}) == {0: [b"below", b"below", b"below", None]}
        assert overlay.fences([0])[0].last == "1:1"
        assert under.fences([0])[0].last == "0:0"

    def test_a_sweep_meets_everybody_once_whatever_was_added_or_deleted(self) -> None:
        _, overlay = self.store(40)
        overlay.commit(0, commit(1, states={"new": b"x"}, created={"new": 17}, deleted=[f"c{i}" for i in range(5, 30)]))
        found: list[str] = []
        after = -1
        while True:
            part = overlay.chunk(0, after, 6)
            found += part.ids
            if len(part.ids) < 6:
                break
            after = part.positions[-1]
        expected = [f"c{i}" for i in range(5)] + ["new"] + [f"c{i}" for i in range(30, 40)]
        assert found == expected

    def test_rows_are_added_or_replaced(self) -> None:
        _, overlay = self.store()
        overlay.commit(0, commit(1, sample=b"ab"))
        overlay.commit(0, commit(2, sample=b"cd"))
        assert overlay.rows(0, "sample", 1) == b"abcd"
        overlay.commit(0, commit(3, replaced={"sample:1": b"cd"}))
        assert overlay.rows(0, "sample", 1) == b"cd"

    def test_days_follow_one_another(self) -> None:
        world = World(partitions=1)
        world.publish(line("a", FIRST_DAY))
        world.tick(FIRST_DAY + timedelta(days=4))
        outcome = rehearse(world.worker()._parts, world.workers[0]._plan, now=world.clock)
        assert outcome.days == {0: str(FIRST_DAY + timedelta(days=4))}
        assert decode_state(world.store.fences([0])[0].state).sweep.number == 0
        assert all(later > earlier for earlier, later in pairwise(sorted(world.registry.versions)))
