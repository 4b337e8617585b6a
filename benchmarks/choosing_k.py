"""Does the rule choose the same k again? The real file cut at eleven dates, two sets of features, three seeds.

    python -m benchmarks.choosing_k [--seeds 3] [PATH]

Beside the rule's k stands what each single number would have chosen from the same table (k = 2 left out).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.retail import FILE, Retail, day_of, read
from features.ledger import Ints, expire, from_lines
from features.vector import RFM, vectors
from models.selection import Choice, choose_k

CUTS = (*(f"2011-{month:02}-01" for month in range(3, 13)), "2011-12-10")
FEATURES = {"rfm": RFM, "rfm + tenure, basket": (*RFM, "tenure", "basket_value")}
HORIZON = 365
RULES = ("rule", "stability", "worst", "silhouette", "bend")


def coordinates(retail: Retail, day: int, features: tuple[str, ...], recency_offset: int = 1) -> Ints:
    """Return the clustered customers' coordinates as of the start of a day."""
    past = retail.lines.take(retail.lines.day < day)
    first = np.full(len(retail.customers), day)
    np.minimum.at(first, past.owner, past.day)
    ledger, _ = expire(from_lines(past), day - HORIZON)
    seen = vectors(ledger, len(retail.customers), day, first)
    return seen.coordinates(features, recency_offset)[seen.clustered]


def chosen_by(choice: Choice, rule: str) -> int:
    """Return the k that a rule takes from a table: ours, or the one with the greatest of one column."""
    if rule == "rule":
        return choice.k
    return max((row for row in choice.table if row.k > 2), key=lambda row: getattr(row, rule)).k


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, default=FILE)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    retail = read(args.path)
    for title, features in FEATURES.items():
        counts = {rule: Counter[int]() for rule in RULES}
        print(f"\n{title}: mean ARI / worst / bend for each k (first seed), then the k that each seed chose")
        for cut in CUTS:
            vectors_of = coordinates(retail, day_of(cut), features)
            choices = [choose_k(vectors_of, seed) for seed in range(args.seeds)]
            for rule in RULES:
                counts[rule].update(chosen_by(choice, rule) for choice in choices)
            cells = "  ".join(f"{r.k}: {r.stability:.2f}/{r.worst:.2f}/{r.bend:.2f}" for r in choices[0].table)
            print(
                f"{cut} {len(vectors_of):>6}  {cells}  -> {','.join(str(choice.k) for choice in choices)}", flush=True
            )
        for rule in RULES:
            print(f"{rule:>12}: " + ", ".join(f"k = {k} {n} times" for k, n in sorted(counts[rule].items())))


if __name__ == "__main__":
    main()
