"""What a run must have in common with every other run over the same input (PROTOCOL C3): ledgers, and labels by day.

Revision, previous segment and cause may differ, and so may what is published within a day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from features.codec import Seen, States, blank_heads, decode_states, encode_states
from features.ledger import expire


def ledger_bytes(states: Mapping[str, bytes], first_day: int) -> dict[str, bytes]:
    """Return each customer's ledger from a day on as it is stored, without head and event ids."""
    ledger, _ = expire(decode_states(list(states.values())).ledger, first_day)
    none = np.empty(0, np.int64)
    bare = States(blank_heads(len(states)), ledger, Seen(none, np.empty(0, np.uint64), none))
    return dict(zip(states, encode_states(bare, np.arange(len(states))), strict=True))


def labels_by_day(records: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """Return customer -> [(day, label at its end)], days on which the label changed; records: output, in log order."""
    last: dict[str, dict[str, int]] = defaultdict(dict)
    for record in records:
        last[record["customer_id"]][record["as_of"]] = record["segment"]["id"]
    found: dict[str, list[tuple[str, int]]] = {}
    for customer, days in last.items():
        changes: list[tuple[str, int]] = []
        for day, label in sorted(days.items()):
            if not changes or changes[-1][1] != label:
                changes.append((day, label))
        found[customer] = changes
    return found
