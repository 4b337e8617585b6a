"""From a customer's orders to his label, by plain loops and Python's floats; the formulas are docs/features.md's.

records (order, day) -> Orders in the horizon -> features -> coordinates -> distances -> label
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

MONEY: Final = 10_000
GRID: Final = float(1 << 24)
LAPSED: Final = 1
NO_NET: Final = 2
FIXED_NAMES: Final = {LAPSED: "Lapsed", NO_NET: "No net purchases"}

Features = dict[str, float | None]
Records = dict[tuple[int, int], list[int]]
"""(order, day) -> [net, units, lines]; net in 1/10,000."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model version as its JSON says; name: the content hash."""

    version: int
    name: str
    features: tuple[str, ...]
    scale: tuple[float, ...]
    centroids: tuple[tuple[float, ...], ...]
    ids: tuple[int, ...]
    names: Mapping[int, str]
    margin: float
    recency_offset: int
    replaced: tuple[int, int] | None = None
    """After a rollback: the versions first <= v < stop whose moves it takes back."""

    def distances(self, x: Sequence[float]) -> list[float]:
        """Return the distance to each centroid, in standard deviations."""
        found = []
        scale = self.scale
        for centroid in self.centroids:
            total = 0.0
            for at, centre, deviation in zip(x, centroid, scale, strict=True):
                z = (at - centre) / deviation
                total += z * z
            found.append(math.sqrt(total))
        return found

    def label(self, anchor: int, x: Sequence[float]) -> int:
        """Return the segment of a clustered customer whose day began with the label `anchor`."""
        return self.label_at(anchor, self.distances(x))

    def label_at(self, anchor: int, distances: Sequence[float]) -> int:
        """Return the same of somebody with these distances to the centroids."""
        least = min(distances)
        if anchor in self.ids and not least < self.margin * distances[self.ids.index(anchor)]:
            return anchor
        return self.ids[distances.index(least)]


def read_model(data: bytes) -> Model:
    """Read a bundle's JSON."""
    found = json.loads(data)
    segments = {segment["id"]: segment["name"] for segment in found["segments"]}
    return Model(
        version=found["version"],
        name=sha256(data).hexdigest()[:16],
        features=tuple(found["features"]),
        scale=tuple(map(float, found["scale"])),
        centroids=tuple(tuple(map(float, row)) for row in found["centroids"]),
        ids=tuple(segments),
        names=FIXED_NAMES | segments,
        margin=found["margin"],
        recency_offset=found.get("recency_offset", 1),
        replaced=tuple(found["replaced"]) if found.get("replaced") else None,
    )


class Orders:
    """A customer's orders in a horizon, summed up; made anew whenever one of them changes."""

    def __init__(self, records: Iterable[tuple[int, int, int, int]], folded: Iterable[tuple[int, ...]] = ()) -> None:
        """records: (order, day, net, units); folded: (net, day, units, positive orders) of days."""
        orders: dict[int, list[tuple[int, int, int]]] = {}
        for order, day, net, units in records:
            if order in orders:
                orders[order].append((net, day, units))
            else:
                orders[order] = [(net, day, units)]
        days = [(net, day, units, n or int(net > 0)) for net, day, units, n in folded]
        self.orders = [_order(found) for found in orders.values()] + days
        """(net, day, units, positive orders) of each order, and of each folded day."""
        nets = [net for found in orders.values() for net, _, _ in found] + [net for net, _, _, _ in days]
        self.net = sum(nets)
        self.returned = -sum([net for net in nets if net < 0])
        self.sold = self.net + self.returned
        """What was bought and what came back, over the days of orders: so also where an order stays positive."""
        self.bought = [day for _, day, _, n in self.orders if n]
        self.frequency = sum([n for _, _, _, n in self.orders])
        self.last = max(self.bought, default=0)
        self.lapsed = not self.orders
        self.clustered = self.frequency > 0 and self.net > 0
        self._kept: Features = {}
        self._fixed: dict[str, float] = {}
        self._distances: tuple[Model, int, list[float]] | None = None

    def features(self, day: int, first_day: int) -> Features:
        """Return every feature as of `day`; None where it has no value."""
        lasting = self._lasting()
        found: Features = {
            "recency": max(day - self.last, 0) if self.frequency else None,
            "tenure": max(day - first_day, 0),
            "frequency": lasting["frequency"],
            "monetary": lasting["monetary"],
        }
        for frequency, monetary, days in _WINDOWS:
            recent = [(net, n) for net, last, _, n in self.orders if last >= day - days]
            found[frequency] = sum([n for _, n in recent])
            found[monetary] = sum([net for net, _ in recent]) / MONEY
        return found | lasting

    def _lasting(self) -> Features:
        """Return the features that stay while no order changes."""
        if not self._kept:
            frequency, sold = self.frequency, [(net, units) for net, _, units, _ in self.orders if net > 0]
            self._kept = {
                "frequency": frequency,
                "monetary": self.net / MONEY,
                "basket_value": sum([net for net, _ in sold]) / MONEY / max(frequency, 1),
                "basket_items": sum([units for _, units in sold]) / max(frequency, 1),
                "mean_gap": (self.last - min(self.bought)) / (frequency - 1) if frequency > 1 else None,
                "return_rate": self.returned / self.sold if self.sold > 0 else None,
            }
        return self._kept

    def coordinates(self, names: Sequence[str], day: int, first_day: int, recency_offset: int) -> list[float]:
        """Return the clustering coordinates, in log units on the grid of 2^-24."""
        fixed = self._fixed
        found = []
        features: Features | None = None
        for name in names:
            if name == "recency":
                found.append(coordinate(day - self.last if self.frequency else None, recency_offset))
            elif name in fixed:
                found.append(fixed[name])
            elif name in _OF_THE_DAY:
                features = features or self.features(day, first_day)
                found.append(coordinate(features[name]))
            else:
                found.append(coordinate(self._lasting()[name]))
                fixed[name] = found[-1]
        return found

    def distances(self, model: Model, day: int, first_day: int) -> list[float]:
        """Return the distance to each centroid of a model; those of the last day and model asked for are kept."""
        kept = self._distances
        if kept is not None and kept[0] is model and kept[1] == day:
            return kept[2]
        found = model.distances(self.coordinates(model.features, day, first_day, model.recency_offset))
        self._distances = model, day, found
        return found


def _order(records: Sequence[tuple[int, int, int]]) -> tuple[int, int, int, int]:
    """Return (net, day, units, 1 if positive) of an order's (net, day, units) of each of its days.

    Its day is the last one with something bought: a return makes no order younger. Without such a day, its last.
    """
    if len(records) == 1:
        net, day, units = records[0]
        return net, day, units, int(net > 0)
    net = sum(net for net, _, _ in records)
    bought = [day for net, day, _ in records if net > 0]
    day = max(bought or [day for _, day, _ in records])
    return net, day, sum(units for _, _, units in records), int(net > 0)


_WINDOWS: Final = tuple((f"frequency_{days}", f"monetary_{days}", days) for days in (30, 90, 365))
_OF_THE_DAY: Final = {"recency", "tenure"} | {name for *names, _ in _WINDOWS for name in names}
"""Features that change with the day, although no order does."""


@lru_cache(maxsize=1 << 16)
def coordinate(value: float | None, offset: int = 1) -> float:
    """Return log(value + offset) of a feature on the grid; what has no value or a negative one counts as 0."""
    return round(math.log1p(max(value or 0.0, 0.0) + (offset - 1)) * GRID) / GRID
