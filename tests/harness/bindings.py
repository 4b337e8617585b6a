"""A generation's binding as a bootstrap without a history would write it."""

from __future__ import annotations

from typing import Any

from features.redis_generation import Binding


def a_binding(*, partitions: int, **more: Any) -> Binding:
    """Return a binding; more: fields that are not as here."""
    usual: dict[str, Any] = {
        "generation": "1",
        "topic_id": "t",
        "horizon_days": 365,
        "timezone": "UTC",
        "currency": "GBP",
        "cutoff": None,
        "has_ids": False,
        "day": 1,
        "clock": "event",
    }
    return Binding(partitions=partitions, **usual | more)
