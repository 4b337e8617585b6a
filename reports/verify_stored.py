"""What is stored of a customer and of a partition at the end, beside what was recomputed."""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from reports.verify_customer import Customer
from reports.verify_input import Facts, Partition
from reports.verify_life import Life, Turn, day_of, iso
from reports.verify_published import Chain
from reports.verify_states import FOLDED, MOST_MOVES, State, Sums, read_state, read_statistics

Found = tuple[str, Any, Any]
"""(kind, expected, found)."""

Records = dict[tuple[int, int], tuple[int, int, int, int]]
"""(order, day) -> (net, units, lines, orders folded into it)."""

MOST = 65_535
"""A record's counts stop there."""


def compare_customer(facts: Facts, customer: Customer, data: bytes | None, turn: Turn, chain: Chain) -> Iterator[Found]:
    """Compare a customer's stored bytes after the last turn; chain: what was published of him."""
    if data is None or customer.life is None:
        if (data is None) != (customer.life is None):
            yield ("state", "none" if customer.life is None else "a state", "none" if data is None else "a state")
        return
    stored = read_state(data)
    if isinstance(stored, str):
        yield ("state", "bytes that can be read", stored)
        return
    life = customer.life
    life.expire(turn.day - facts.horizon_days)
    yield from _ledger(stored, life, turn.day - facts.horizon_days)
    if not life.forgetful:
        yield from _seen(stored, life, turn.day - facts.dedupe_days)
    unknown = life.blurred or customer.unsure
    pairs = {
        "first day": (life.first_day, stored.first_day),
        "last day": (life.last_day, stored.last_day),
        "lifetime net": (life.net, stored.past_net + sum(record.net for record in stored.records)),
        "label": (stored.segment if unknown else customer.label, stored.segment),
    }
    if chain.revision is not None:
        pairs |= {
            "published label": (chain.segment, stored.segment),
            "published revision": (chain.revision, stored.revision),
            "published entry": (day_of(chain.entered) if chain.entered else 0, stored.entered_day),
            "published previous": (chain.previous, stored.previous),
        }
    yield from ((kind, expected, found) for kind, (expected, found) in pairs.items() if expected != found)
    if stored.schema > 1:
        yield from _moves(stored, chain, whole=facts.keeps_moves)


def _moves(stored: State, chain: Chain, *, whole: bool) -> Iterator[Found]:
    """Compare the moves with those published; whole: they were kept from the first one of the state on."""
    mine, theirs = chain.moves, list(stored.moves)
    both = min(len(mine), len(theirs))
    if mine[len(mine) - both :] != theirs[len(theirs) - both :]:
        yield ("moves", mine[len(mine) - both :], theirs[len(theirs) - both :])
    least = min(len(mine) - chain.begun, MOST_MOVES)
    if whole and len(theirs) < least:
        yield ("moves kept", least, len(theirs))


def _ledger(stored: State, life: Life, horizon: int) -> Iterator[Found]:
    kept = [record for record in stored.records if record.day >= horizon]
    theirs = {(r.order, r.day): (r.net, r.units, r.lines, r.orders) for r in kept}
    if len(theirs) != len(kept):
        yield ("ledger", "each (order, day) once", "repeated ones")
    mine = {key: (net, units, min(lines, MOST), 0) for key, (net, units, lines) in life.records.items()}
    for day, (net, units, lines, orders) in life.days.items():
        mine[FOLDED, day] = (net, units, min(lines, MOST), min(orders, MOST))
    if life.blurred:
        mine, theirs = _by_day(mine), _by_day(theirs)
    if mine != theirs:
        order, day = min((key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)), key=_by_age)
        where = f"order {order:016x} on {iso(day)}"
        yield ("ledger", (where, mine.get((order, day))), (where, theirs.get((order, day))))


def _by_age(key: tuple[int, int]) -> tuple[int, int]:
    return key[1], key[0]


def _by_day(records: Records) -> Records:
    """Add orders up to days: what the fold above the cap keeps."""
    days: Records = {}
    for (_, day), (net, units, lines, _) in records.items():
        before = days.get((FOLDED, day), (0, 0, 0, 0))
        days[FOLDED, day] = (before[0] + net, before[1] + units, before[2] + lines, 0)
    return days


def _seen(stored: State, life: Life, oldest: int) -> Iterator[Found]:
    """Compare the event ids that still count; older ones go when the customer is written the next time."""
    mine = {(event, day) for event, day in life.seen.items() if day >= oldest}
    theirs = {(event, day) for event, day in stored.seen if day >= oldest}
    if mine != theirs:
        yield ("seen event ids", f"{len(mine - theirs)} more", f"{len(theirs - mine)} others")


def compare_counters(partition: Partition, counted: Counter[str]) -> Iterator[Found]:
    """Compare what became of every line; unreadable values count as one, whichever way they were found to be so."""
    names = {"lines", "applied", "repeated", "guests", "ticks", "erasures", "erased_customers", "forgotten"}
    stored = Counter(
        {name: n for name, n in partition.standing.counters.items() if name in names or name.startswith("refused.")}
    )
    mine, theirs = _merged(counted), _merged(stored)
    for name in sorted(mine.keys() | theirs.keys()):
        if mine[name] != theirs[name]:
            yield (f"counter {name}", mine[name], theirs[name])
    outcomes = sum(n for name, n in theirs.items() if name not in ("lines", "erased_customers", "forgotten"))
    if outcomes != theirs["lines"]:
        yield ("counters", f"outcomes that add up to {theirs['lines']} lines", outcomes)


def _merged(counters: Counter[str]) -> Counter[str]:
    unreadable = ("refused.malformed", "refused.schema")
    found = Counter({name: n for name, n in counters.items() if n and name not in unreadable})
    if total := sum(counters[name] for name in unreadable):
        found["refused.malformed or schema"] = total
    return found


def compare_statistics(data: bytes, sums: Sums) -> Iterator[Found]:
    """Compare the clusters' statistics, to the last bit."""
    found = read_statistics(data)
    if isinstance(found, str):
        yield ("statistics", "bytes that can be read", found)
    elif found != sums:
        what = next(name for name in Sums._fields if getattr(found, name) != getattr(sums, name))
        yield (f"statistics {what}", getattr(sums, what), getattr(found, what))


def compare_marks(facts: Facts, partition: Partition, erased: dict[str, tuple[float, int | None]]) -> Iterator[Found]:
    """Compare the marks of customers erased in the stream: when, and the last revision (None: not known)."""
    for customer, (at, revision) in erased.items():
        mark = mark_of(facts, partition, customer)
        if mark is None:
            yield ("erasure mark", "a mark", "none")
        elif mark["at"] != at or revision not in (None, mark["revision"]):
            yield ("erasure mark", {"at": at, "revision": revision}, mark)


def mark_of(facts: Facts, partition: Partition, customer: str) -> dict[str, Any] | None:
    """Return a customer's mark, found by its keyed hash."""
    assert facts.erasure_key is not None
    if not partition.marks:
        return None
    data = partition.marks.get(hmac.digest(facts.erasure_key, customer.encode(), "sha256").hex())
    found: dict[str, Any] | None = None if data is None else json.loads(data)
    return found
