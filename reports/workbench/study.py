"""What a report is about: a shop's lines and ledgers, one model, and everybody's features and segment as of a day.

ids, ledger, first days --as_of(day)--> customers, a row each: 14 features, segment
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from features.ledger import Ints, Ledger, expire
from features.transaction import date_of
from features.vector import COORDINATE_SCALE, NAMES, Floats, Vectors, coordinate, vectors
from models.bundle import FIXED, Bundle, scale_array
from models.scoring import scored
from models.selection import Choice

Progress = Callable[[str, int, int], None]
"""Told a stage's name, how much of it is done, and of how much."""


def silent(_stage: str, _done: int, _of: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Past:
    """What the running service remembers of the days before: its daily table.

    sizes: a row a day and segment, ``day`` (ISO), ``segment``, ``customers``, ``revenue``. flows: a row a day, pair and
    cause, ``day``, ``source``, ``target`` (names, in brackets where it is no segment), ``cause``, ``customers``.
    """

    sizes: pd.DataFrame
    flows: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Study:
    """The inputs of every section.

    source: the files' names, or what else people know the data by. lines: as reports.workbench.lines says, None where
    only ledgers are known (the running service keeps no lines). funnel: what cleaning did, columns ``step``, ``kind``
    (read, out, view, kept), ``lines``, ``customers``, ``value``; empty without lines. ids: n customer ids; ledger:
    their records, owners 0 .. n - 1, not expired; first_day: int64 (n,) of the first order ever. day: as of which
    everything is said, days since 1970-01-01: a line of that day or later is in nothing. choice: how k was found, None
    where it was given. currency: ISO 4217, "" where unknown. customers: `as_of(day)`. past: of the running service.
    """

    source: str
    lines: pd.DataFrame | None
    funnel: pd.DataFrame
    ids: tuple[str, ...]
    ledger: Ledger
    first_day: Ints
    day: int
    bundle: Bundle
    choice: Choice | None
    currency: str
    customers: pd.DataFrame
    past: Past | None = None

    @property
    def date(self) -> date:
        """The day as a date."""
        return date_of(self.day)

    @property
    def clustered(self) -> pd.DataFrame:
        """The customers who are in the clusters: a positive order and a positive net in the horizon."""
        return self.customers[self.customers["clustered"]]

    @property
    def segments(self) -> list[str]:
        """The names of the clusters' segments, in the model's order: Champions first."""
        return [segment.name for segment in self.bundle.segments]

    @property
    def vectors(self) -> Floats:
        """What was clustered, float64 (m, d): log units in the model's standard deviations; rows as of `clustered`."""
        rows = self.clustered
        names, offset = self.bundle.features, self.bundle.recency_offset
        logs = [coordinate(name, rows[name].to_numpy(), offset) / COORDINATE_SCALE for name in names]
        return np.stack(logs, axis=1) / scale_array(self.bundle)

    def as_of(self, day: int) -> pd.DataFrame:
        """Return everybody as of the beginning of a day under the same model, as `customers_on` says."""
        return customers_on(self.ids, self.ledger, self.first_day, day, self.bundle)


def pseudonymous(study: Study, name_of: Callable[[str], str]) -> Study:
    """Return the study with another name for each customer, in whatever names one; names must be distinct."""
    ids = tuple(map(name_of, study.ids))
    if len(set(ids)) != len(ids):
        raise ValueError("two customers got one name")
    lines = study.lines
    if lines is not None:
        lines = lines.assign(customer=lines["customer"].cat.rename_categories(lambda known: name_of(str(known))))
    customers = study.customers.rename(index=dict(zip(study.ids, ids, strict=True)))
    return replace(study, ids=ids, lines=lines, customers=customers)


def customers_on(ids: Sequence[str], ledger: Ledger, first_day: Ints, day: int, bundle: Bundle) -> pd.DataFrame:
    """Return those who had a line before `day`, a row each, indexed by customer id, in the order of `ids`.

    Columns: the features of `features.vector.NAMES` (float64, units there), ``segment_id`` (int64), ``segment`` (an
    ordered category: the clusters, Champions first, then the fixed segments), ``clustered`` (bool). Segments are those
    of a customer without a past, the nearest centroid: no margin holds anybody.
    """
    before = ledger.take(ledger.day < day)
    there = np.zeros(len(ids), np.bool_)
    there[before.owner] = True
    known, _ = expire(before, day - bundle.horizon_days)
    found = vectors(known, len(ids), day, np.minimum(first_day, day), NAMES)
    return frame_of(ids, found, nearest_labels(found, bundle), bundle)[there]


def nearest_labels(found: Vectors, bundle: Bundle) -> Ints:
    """Return the segment ids of customers without a past, int64 (n,): no margin holds anybody."""
    return scored(found, bundle).labels(np.zeros(len(found.lapsed), np.int64), bundle)


def frame_of(ids: Sequence[str], found: Vectors, labels: Ints, bundle: Bundle) -> pd.DataFrame:
    """Return n customers as `customers_on` describes them. found: all features; labels: int64 (n,) of the model's."""
    frame = pd.DataFrame({name: found.values[name] for name in NAMES}, index=pd.Index(ids, name="customer"))
    frame["segment_id"] = labels
    frame["segment"] = named(labels, bundle)
    frame["clustered"] = found.clustered
    return frame


def named(labels: Ints, bundle: Bundle) -> pd.Categorical[str]:
    """Return the names of segment ids, int64 (n,), as an ordered category: the clusters, then the fixed ones."""
    segments = (*bundle.segments, *FIXED)
    place = {segment.id: i for i, segment in enumerate(segments)}
    codes = [place[label] for label in labels.tolist()]
    return pd.Categorical.from_codes(codes, categories=pd.Index([segment.name for segment in segments]), ordered=True)
