"""What should stand in one output record, beside what stands there."""

from __future__ import annotations

from typing import Any, Final

from reports.verify_life import Life, Turn, iso
from reports.verify_scoring import Model

TOLERANCE: Final = 1.001e-6
"""Published numbers are rounded to six decimals."""

Wrong = dict[str, tuple[Any, Any]]
"""Field -> (expected, found)."""


def wrong_fields(value: dict[str, Any], life: Life, turn: Turn, segment: int, causes: set[str]) -> Wrong:
    """Compare a record's value with the customer at its place; causes: those that may be.

    Raises KeyError or TypeError where the record lacks a field.
    """
    model = turn.model
    assert model is not None
    margin, second, held = _clearness(life, turn.day, model, segment)
    runner = value["second"] or {}
    exact = {
        "segment": (segment, value["segment"]["id"]),
        "name": (model.names[segment], value["segment"]["name"]),
        "as_of": (iso(turn.day), value["as_of"]),
        "model_version": (model.version, value["model_version"]),
        "cause": (value["cause"] if value["cause"] in causes else sorted(causes), value["cause"]),
        "second": (second and second[0], runner.get("id")),
        "held": (held, value["held"]),
    }
    features = value["features"]
    near: Wrong = {name: (number, features[name]) for name, number in life.features(turn.day).items()}
    near["margin"] = (margin, value["margin"])
    near["second.distance"] = (second and second[1], runner.get("distance"))
    wrong = {name: pair for name, pair in exact.items() if pair[0] != pair[1]}
    return wrong | {name: pair for name, pair in near.items() if pair[0] != pair[1] and not _close(*pair)}


def _clearness(life: Life, day: int, model: Model, segment: int) -> tuple[float | None, tuple[int, float] | None, bool]:
    """Return margin, the nearest cluster other than his with its distance, and whether it is nearer than his own."""
    if segment not in model.ids:
        return None, None, False
    own = model.ids.index(segment)
    distances = life.distances(model, day)
    others = [(distance, i) for i, distance in enumerate(distances) if i != own]
    if not others:
        return 1.0, None, False
    distance, i = min(others)
    least, next_least = sorted(distances)[:2]
    margin = 1.0 - (least / next_least if next_least > 0 else 1.0)
    return margin, (model.ids[i], distance), distance < distances[own]


def _close(expected: float | None, found: Any) -> bool:
    if expected is None or not isinstance(found, int | float):
        return expected is None and found is None
    return abs(expected - found) <= TOLERANCE * max(1.0, abs(expected) * 1e-6)
