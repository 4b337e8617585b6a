"""History and stream meet anywhere: the ledgers are those of one batch run, and `verify` names a planted event.

Cuts inside an order and inside a second, up to 30 % of the history sent again, the stream out of order; what follows
from a cut follows from its seed. The real file where it lies beside the repository, else the committed sample.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from reports.verify_input import Verdict
from reports.verify_traced import EXCESS, MISSING
from tests.harness.handoff import DAY, Cut, Handoff, Source, cut, decoded

SAMPLE = Path(__file__).parents[2] / "Dataset" / "sample.csv.gz"
RESULTS = Path(__file__).with_name("results") / "handoff.json"
CUTS = 200
WHOLE_EVERY = 40
"""Each so many cuts one is of the whole file; the others are of those who bought around the cut, and some others."""


@pytest.fixture(scope="module")
def source(real_dataset: Path | None) -> Source:
    return Source.of(real_dataset or SAMPLE)


def is_equal(handoff: Handoff) -> bool:
    """Compare with the batch run, byte for byte, and both with a plain sum over the rows."""
    ledgers = handoff.ledgers
    return ledgers == handoff.batch and decoded(ledgers) == handoff.added_up


def after(made: Cut, directory: Path, source: Source, **planted: int) -> Handoff:
    """Carry a cut out up to three days behind it, with a fault."""
    directory.mkdir()
    handoff = Handoff(source, made, directory, **planted)
    first = next(place for place in handoff.kept if place >= made.history)
    handoff.until = handoff.events[first].time + 3 * DAY
    return handoff


def boundary(handoff: Handoff) -> tuple[int, int]:
    """Return the places of the newest row without which the history ends no earlier, and of the stream's first."""
    before = [place for place in handoff.kept if place < handoff.cut.history]
    last = handoff.cut.rows[before[-1]].moment
    ends_alone = handoff.cut.rows[before[-2]].moment != last
    return before[-2 if ends_alone else -1], next(place for place in handoff.kept if place >= handoff.cut.history)


def named(verdict: Verdict, handoff: Handoff, place: int, kind: str) -> str | None:
    """Say how a verdict names an event: "alone" or among "several" that would do; None where it does not."""
    event, customer = handoff.id_of(place), handoff.cut.rows[place].customer
    told = [difference for difference in verdict.differences if difference.kind in (MISSING, EXCESS)]
    texts = [str(d.expected if kind == MISSING else d.found) for d in told if (d.kind, d.customer) == (kind, customer)]
    if verdict.ok or len(told) != 1 or len(texts) != 1 or event not in texts[0]:
        return None
    return "several" if texts[0].startswith("one of") else "alone"


def planted(source: Source, seed: int, directory: Path) -> dict[str, str | None]:
    """Plant a missing event and one in excess at a cut's boundary, in what the service did with history or stream."""
    made = cut(source, seed, 8)
    rng = random.Random(seed)
    past, coming = boundary(after(made, directory / "clean", source))
    missing = {"leave_out": past} if rng.random() < 0.5 else {"skip": coming}
    excess = {"forget": past} if rng.random() < 0.5 else {"double": coming}
    found = {}
    for kind, fault in ((MISSING, missing), (EXCESS, excess)):
        handoff = after(made, directory / kind.replace(" ", "-"), source, **fault)
        (how, place), *_ = fault.items()
        found[kind] = named(handoff.verdict(), handoff, place, kind)
        found[f"{kind}: how"] = how
    return found


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_bootstrap_and_stream_meet_in_the_ledgers_of_one_batch_run(source: Source, seed: int, tmp_path: Path) -> None:
    made = cut(source, seed, 3)
    assert made.rows[made.history - 1].customer
    handoff = Handoff(source, made, tmp_path)
    assert is_equal(handoff)
    assert handoff.verdict().differences == ()


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_a_missing_and_an_extra_event_at_the_boundary_are_named(source: Source, seed: int, tmp_path: Path) -> None:
    found = planted(source, seed, tmp_path)
    assert found[MISSING], found
    assert found[EXCESS], found


@pytest.mark.long
@pytest.mark.timeout(3_000)
def test_two_hundred_cuts_of_the_real_file(source: Source, real_dataset: Path | None, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for seed in range(CUTS):
        directory = tmp_path / str(seed)
        directory.mkdir()
        whole = seed % WHOLE_EVERY == 0
        made = cut(source, seed, None if whole else 10)
        found = planted(source, seed, directory)
        row = {
            "seed": seed,
            "whole": whole,
            "rows": len(made.rows),
            "cut": made.history,
            "overlap": round(made.overlap, 3),
            "again": len(made.again),
            "shuffle": made.shuffle,
            "inside_order": made.inside_order,
            "inside_second": made.inside_second,
            "equal": is_equal(Handoff(source, made, directory)),
            "missing": found[MISSING],
            "missing_by": found[f"{MISSING}: how"],
            "excess": found[EXCESS],
            "excess_by": found[f"{EXCESS}: how"],
        }
        rows.append(row)
    bad = [row for row in rows if not (row["equal"] and row["missing"] and row["excess"])]
    assert not bad, bad
    assert sum(row["inside_order"] and row["inside_second"] for row in rows) > CUTS // 2
    assert {row["shuffle"] for row in rows} == {"sorted", "near", "far"}
    if real_dataset is not None:
        lines = ",\n".join(json.dumps(row) for row in rows)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
