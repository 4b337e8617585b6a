r"""A history folded part by part: each holds all lines of some customers, so that the parts together are the whole.

    rows --by murmur2 of the customer--> part 0 --read, clean, fold--> Part --\
                                         part 1 --------------------->  Part ---> Folded

Cleaning compares rows of one customer only, and ledgers of different customers are put side by side: what the whole
would give at once comes out, byte for byte, whoever folds (processes here, tasks of Spark in spark_bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from consumer.exits import ExitCode, Stop
from consumer.history.bootstrap import Folded, remembered
from consumer.history.csv_cleaning import Funnel
from consumer.history.csv_source import History, fold_history
from consumer.service import NO_LINE, without_erased_at
from features.ledger import Hashes, Ints, Ledger
from features.transaction import DAY_SECONDS

NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Terms:
    """What of a history counts. stop: local seconds, later lines do not; None: all do.

    erased: until when a customer's lines are forgotten (local seconds), by keyed hash; key: of that hash.
    """

    dedupe_days: int
    stop: int | None = None
    erased: Mapping[str, int] | None = None
    key: bytes = b""


@dataclass(frozen=True, slots=True)
class Part:
    """All that some customers did: their ledger, and the ids of lines young enough to come again (owner, id, day).

    newest, newest_read: time of the newest line that counts, and of the newest before erasures; `NEVER` where there is
    none. lines: before erasures.
    """

    customers: tuple[str, ...]
    ledger: Ledger
    owner: Ints
    event: Hashes
    day: Ints
    newest: int
    newest_read: int
    lines: int
    has_ids: bool
    files: tuple[str, ...]
    funnel: Funnel


def fold_part(history: History, terms: Terms) -> Part:
    """Fold the lines of some customers."""
    if terms.stop is not None:
        history = history.take(history.time <= terms.stop)
    read = len(history)
    newest_read = int(history.time.max()) if read else NEVER
    if terms.erased:
        history = without_erased_at(history, terms.erased, terms.key)
    newest = int(history.time.max()) if len(history) else NEVER
    customers, ledger = fold_history(history)
    # As young as the part's own newest line allows: no older than what the newest of all will allow.
    recent = history.take(history.day >= newest // DAY_SECONDS - terms.dedupe_days)
    index = {customer: i for i, customer in enumerate(customers)}
    owner = np.array([index[customer] for customer in recent.customer_ids()], np.int64)
    event = recent.lines().event_id
    return Part(
        customers,
        ledger,
        owner,
        event,
        recent.day,
        newest,
        newest_read,
        read,
        history.has_ids,
        history.files,
        history.funnel,
    )


def joined(parts: Sequence[Part], dedupe_days: int) -> Folded:
    """Return the history that the parts make. Raises `Stop` where there is no line."""
    newest = newest_of(parts)
    names = [name for part in parts for name in part.customers]
    in_order = sorted(range(len(names)), key=names.__getitem__)
    place = np.empty(len(names), np.int64)
    place[in_order] = np.arange(len(names))
    starts = np.cumsum([0, *(len(part.customers) for part in parts)])[:-1].tolist()
    owner = place[np.concatenate([part.ledger.owner + start for part, start in zip(parts, starts, strict=True)])]
    # Stable: a customer's records are in order already, and all in one part.
    by_owner = np.argsort(owner, kind="stable")
    columns = ("order", "day", "net", "units", "lines", "orders")
    ledger = Ledger(
        owner[by_owner], *(np.concatenate([getattr(p.ledger, name) for p in parts])[by_owner] for name in columns)
    )
    young = place[np.concatenate([part.owner + start for part, start in zip(parts, starts, strict=True)])]
    ids, days = (np.concatenate([getattr(part, name) for part in parts]) for name in ("event", "day"))
    counts = days >= newest // DAY_SECONDS - dedupe_days
    seen, dropped = remembered(young[counts], ids[counts], days[counts], len(names), newest // DAY_SECONDS)
    return Folded(tuple(names[i] for i in in_order), ledger, seen, dropped, newest, newest)


def alone(part: Part, dedupe_days: int, newest: int) -> Folded:
    """Return one part as a history whose newest line may be in another."""
    counts = part.day >= newest // DAY_SECONDS - dedupe_days
    owner, ids, days = part.owner[counts], part.event[counts], part.day[counts]
    seen, dropped = remembered(owner, ids, days, len(part.customers), newest // DAY_SECONDS)
    return Folded(part.customers, part.ledger, seen, dropped, newest, newest)


def newest_of(parts: Sequence[Part]) -> int:
    """Return the time of the newest line that counts. Raises `Stop` where there is none."""
    newest = max((part.newest for part in parts), default=NEVER)
    if newest == NEVER:
        raise Stop(ExitCode.USAGE, NO_LINE)
    return newest


def funnel_of(parts: Sequence[Part]) -> Funnel:
    """Return what became of all lines."""
    whole = reduce(Funnel.plus, (part.funnel for part in parts))
    return whole.in_order(parts[0].files)


def without_records(part: Part) -> Part:
    """Return what a part says of itself, without its customers: small enough to be sent anywhere."""
    none = np.empty(0, np.int64)
    empty = Ledger(none, none.astype(np.uint64), none, none, none, none, none)
    return replace(part, customers=(), ledger=empty, owner=none, event=none.astype(np.uint64), day=none)
