"""docs/features.md keeps up with the code."""

import re
from pathlib import Path

from features.ledger import MAX_ORDERS
from features.vector import NAMES, RFM

TEXT = (Path(__file__).parents[2] / "docs" / "features.md").read_text()


def test_every_feature_has_its_row() -> None:
    section = TEXT.split("## The list")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = [name for cell in rows for name in re.findall(r"`(\w+)`", cell)]
    assert set(documented) == set(NAMES)
    assert len(documented) == len(NAMES)


def test_the_default_of_what_clusters_is_named() -> None:
    assert f"by default **{', '.join(RFM)}**" in TEXT


def test_the_cap_is_the_one_in_force() -> None:
    assert f"**Over {MAX_ORDERS:,} orders**" in TEXT
