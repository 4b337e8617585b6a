"""Do ids last, and are names steady? Retrains on planted clusters, and bootstrap fits of the real file.

    python -m benchmarks.lineage [--retrains 50] [--seeds 3] [--fits 50] [--k 4] [PATH]

Planted: clusters of customers in the space of log recency, frequency and monetary. Before every retrain each customer
wanders a little and one thing happens: a cluster splits, two merge, one dies and another is born elsewhere, or nothing.
K-Means is fitted from scratch with another seed and as many clusters as are there. Who was planted where is known:

    kept     of the customers whose cluster goes on, how many kept their segment's id
    named    splits and merges that the lineage tells as they were planted, and nothing else beside them
    back     retired ids that came back; a change of the ids without a record

Names: resamples of the real file's customers are fitted and matched to the fit of all of them; how often the rule
names a continuing id otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from benchmarks.retail import FILE, read
from features.ledger import Ints, expire, from_lines
from features.vector import COORDINATE_SCALE, RFM, Floats, vectors
from models.bundle import Bundle, Change, centroid_array, segment_ids
from models.centroids import Indices, distances_under, nearest
from models.lineage import descend, kinship, overlap_of
from models.segments import names
from models.selection import Terms, fit, found

TERMS = Terms(day=0, features=RFM, learner="population", horizon_days=365, margin=0.95, recency_offset=1)
APART, SPREAD, WANDER = 3.0, 0.35, 0.1
"""Least distance between planted clusters, their standard deviation, and a customer's from retrain to retrain."""

Event = Literal["nothing", "split", "merge", "replace"]


class Retrain(NamedTuple):
    """One retrain. before, after: each customer's planted cluster; kin: planted clusters that the event is about."""

    event: Event
    kin: tuple[int, ...]
    before: Ints
    after: Ints
    coordinates: Ints


class Outcome(NamedTuple):
    """What came of one. stayed, kept: customers whose cluster went on, and those of them who kept their id."""

    event: Event
    k: int
    stayed: int
    kept: int
    named: bool
    back: int
    unrecorded: int


def shop(retrains: int, seed: int, customers: int = 2_000) -> Iterator[Retrain]:
    """Yield a population before its first fit ("nothing") and then before each retrain."""
    rng = np.random.default_rng(seed)
    centres = dict(enumerate(_places(rng, {}, 4)))
    home = rng.integers(4, size=customers)
    offsets = rng.normal(scale=SPREAD, size=(customers, 3))
    number = 4
    yield Retrain("nothing", (), home, home, _coordinates(centres, home, offsets))
    for _ in range(retrains):
        before = home.copy()
        offsets = offsets * (1 - WANDER) + rng.normal(scale=SPREAD * WANDER**0.5, size=offsets.shape)
        allowed: list[Event] = ["nothing", "replace"]
        if len(centres) < 7:
            allowed += ["split"] * 4
        if len(centres) > 3:
            allowed += ["merge"] * 4
        event = allowed[rng.integers(len(allowed))]
        kin: tuple[int, ...] = ()
        if event == "split":
            parent = max(centres, key=lambda c: int((home == c).sum()))
            members = np.flatnonzero(home == parent)
            moved = rng.permutation(members)[: int(len(members) * rng.uniform(0.25, 0.45))]
            (centres[number],) = _places(rng, centres, 1)
            home[moved] = number
            kin, number = (parent, number), number + 1
        elif event == "merge":
            one, other = sorted(centres, key=lambda c: int((home == c).sum()))[:2]
            home[home == one] = other
            del centres[one]
            kin = (one, other)
        elif event == "replace":
            gone = min(centres, key=lambda c: int((home == c).sum()))
            leaving = home == gone
            others = [c for c in centres if c != gone]
            home[leaving] = rng.choice(others, size=int(leaving.sum()))
            del centres[gone]
            (centres[number],) = _places(rng, centres, 1)
            joining = rng.permutation(customers)[: customers // 8]
            home[joining] = number
            kin, number = (gone, number), number + 1
        yield Retrain(event, kin, before, home.copy(), _coordinates(centres, home, offsets))


def _places(rng: np.random.Generator, taken: dict[int, Floats], count: int) -> list[Floats]:
    """Return centres that keep their distance from those taken and from each other."""
    chosen: list[Floats] = []
    while len(chosen) < count:
        place = rng.uniform([0.0, 0.0, 0.0], [14.0, 14.0, 14.0])
        if all(np.linalg.norm(place - other) > APART for other in (*taken.values(), *chosen)):
            chosen.append(place)
    return chosen


def _coordinates(centres: dict[int, Floats], home: Ints, offsets: Floats) -> Ints:
    x = np.stack([centres[h] for h in home.tolist()]) + offsets
    return np.rint(np.maximum(x, 0.0) * COORDINATE_SCALE).astype(np.int64)


def retrained(retrains: int, seed: int) -> Iterator[Outcome]:
    """Yield what came of each retrain of one shop."""
    bundle: Bundle | None = None
    ever: set[int] = set()
    ids = np.empty(0, np.int64)
    for n, step in enumerate(shop(retrains, seed)):
        k = len(np.unique(step.after))
        fitted = found(fit(step.coordinates, k, seed=1_000 * seed + n), TERMS)
        if bundle is None:
            bundle = fitted
            ids = _ids(bundle, step.coordinates)
            ever = set(segment_ids(bundle))
            continue
        index = {segment: i for i, segment in enumerate(segment_ids(bundle))}
        old = np.array([index[i] for i in ids.tolist()])
        overlap = overlap_of(old, _clusters(fitted, step.coordinates), bundle.k, k)
        made = descend(bundle, fitted, overlap, day=n, created_by="refit")
        after = _ids(made, step.coordinates)
        yield _outcome(step, bundle, made, ids, after, ever)
        bundle, ids = made, after
        ever |= set(segment_ids(made))


def _outcome(step: Retrain, old: Bundle, new: Bundle, before: Ints, after: Ints, ever: set[int]) -> Outcome:
    stays = (step.before == step.after) & ~np.isin(step.before, step.kin)
    fresh = set(segment_ids(new)) - set(segment_ids(old))
    told = {c.id for c in new.lineage}
    everyone = set(segment_ids(old)) | set(segment_ids(new))
    return Outcome(
        step.event,
        new.k,
        int(stays.sum()),
        int((before[stays] == after[stays]).sum()),
        _told(step, before, after, new.lineage),
        len(fresh & ever),
        len(everyone - told),
    )


def _told(step: Retrain, before: Ints, after: Ints, lineage: tuple[Change, ...]) -> bool:
    """Say whether the lineage tells the planted split or merger, with the ids that most of those customers had."""
    told = {(c.fate, c.id, c.kin) for c in lineage if c.fate in ("split", "merged")}
    if step.event == "split":
        parent, child = step.kin
        return told == {("split", _most(after[step.after == child]), _most(before[step.before == parent]))}
    if step.event == "merge":
        one, other = step.kin
        ids = {_most(before[step.before == one]), _most(before[step.before == other])}
        stays = _most(after[step.after == other])
        return stays in ids and told == {("merged", (ids - {stays}).pop(), stays)}
    return not told or step.event == "replace"


def _most(ids: Ints) -> int:
    values, counts = np.unique(ids, return_counts=True)
    return int(values[np.argmax(counts)])


def _clusters(bundle: Bundle, coordinates: Ints) -> Indices:
    return nearest(distances_under(bundle, coordinates))


def _ids(bundle: Bundle, coordinates: Ints) -> Ints:
    return np.array(segment_ids(bundle))[_clusters(bundle, coordinates)]


def renamed(coordinates: Ints, k: int, fits: int) -> tuple[int, int]:
    """Return (names that the rule changes at a continuing id, names compared) over bootstrap fits."""
    base = found(fit(coordinates, k), TERMS)
    clusters = _clusters(base, coordinates)
    changed = compared = 0
    for seed in range(1, fits + 1):
        chosen = np.random.default_rng(seed).integers(len(coordinates), size=len(coordinates))
        other = found(fit(coordinates[chosen], k, seed), TERMS)
        heir = kinship(overlap_of(clusters, _clusters(other, coordinates), k, k)).heir
        ruled = names(centroid_array(other), RFM)
        compared += int((heir >= 0).sum())
        changed += sum(base.segments[i].name != ruled[j] for j, i in enumerate(heir.tolist()) if i >= 0)
    return changed, compared


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--retrains", type=int, default=50)
    parser.add_argument("--fits", type=int, default=50)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    for seed in range(1, args.seeds + 1):
        outcomes = list(retrained(args.retrains, seed))
        planted = [o for o in outcomes if o.event in ("split", "merge")]
        print(
            f"seed {seed}: {len(outcomes)} retrains, k {min(o.k for o in outcomes)} to {max(o.k for o in outcomes)}; "
            f"kept {sum(o.kept for o in outcomes) / sum(o.stayed for o in outcomes):.4f}; named right "
            f"{sum(o.named for o in planted)} of {len(planted)} splits and merges, {sum(o.named for o in outcomes)} of "
            f"{len(outcomes)} in all; retired ids back {sum(o.back for o in outcomes)}, changes without a record "
            f"{sum(o.unrecorded for o in outcomes)}",
            flush=True,
        )
    retail = read(args.path)
    ledger, _ = expire(from_lines(retail.lines), retail.until - 365)
    seen = vectors(ledger, len(retail.customers), retail.until, np.zeros(len(retail.customers), np.int64), RFM)
    changed, compared = renamed(seen.coordinates(RFM, 1)[seen.clustered], args.k, args.fits)
    share = changed / compared
    print(f"names: over {args.fits} fits the rule names {changed} of {compared} continuing ids otherwise ({share:.1%})")


if __name__ == "__main__":
    main()
