"""What the group gives and takes, noted on kafka-python's IO thread for the caller's (PROTOCOL B1)."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kafka import ConsumerRebalanceListener

from consumer.ports import Rebalance


class RebalanceListener:
    """Notes what the group gives and takes; never blocks, for it runs on the thread that sends the heartbeats."""

    def __init__(self, consumer: Any) -> None:
        self.lock = threading.Lock()
        """Held by whoever reads or changes the sets, and by `seek` and `resume`, which must not meet a rebalance."""
        self.assigned: set[int] = set()
        self.revoked: set[int] = set()
        self.parked: set[int] = set()
        """Assigned, and not yet sought."""
        self._consumer = consumer

    def on_partitions_assigned(self, partitions: Iterable[Any]) -> None:
        with self.lock:
            for each in partitions:
                self._park(each)
                self.assigned.add(each.partition)

    def on_partitions_revoked(self, partitions: Iterable[Any]) -> None:
        gone = {each.partition for each in partitions}
        with self.lock:
            self.revoked |= gone
            self.assigned -= gone
            self.parked -= gone

    on_partitions_lost = on_partitions_revoked

    def repark(self, partitions: Iterable[Any]) -> None:
        """Park partitions that were met without a position."""
        with self.lock:
            for each in partitions:
                with suppress(KeyError, ValueError):  # revoked meanwhile
                    self._park(each)

    def _park(self, partition: Any) -> None:
        # Paused, and with a position: without one the next poll would ask for the committed offset,
        # and raise where there is none.
        self._consumer.pause(partition)
        self._consumer.seek(partition, 0)
        self.parked.add(partition.partition)

    def take(self) -> Rebalance:
        """Return what was noted, and forget it."""
        with self.lock:
            noted = Rebalance(frozenset(self.assigned), frozenset(self.revoked))
            self.assigned.clear()
            self.revoked.clear()
            return noted


ConsumerRebalanceListener.register(RebalanceListener)  # the library checks with isinstance
