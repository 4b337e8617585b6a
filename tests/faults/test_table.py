"""docs/reliability.md is what the tests recorded, and nothing in it is empty."""

from __future__ import annotations

from tests.faults.table import FAULTS, PAGE, read_chaos, read_handoff, read_results, rendered

CRASHES = 500
"""Random crash points that must have been survived before the claim is made."""


def test_the_page_is_made_of_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == rendered(page), "write it anew: python -m tests.faults.table"


def test_every_fault_has_a_test_that_passed() -> None:
    proven = {row for record in read_results() for row in record.faults}
    assert proven == FAULTS.keys()
    assert all(record.fired == record.injected > 0 for record in read_results())
    assert not any(record.lost or record.doubled for record in read_results())


def test_chaos_lost_and_doubled_nothing_over_several_seeds() -> None:
    runs = read_chaos()
    assert len({run.seed for run in runs}) >= 5
    assert sum(sum(run.crashes.values()) for run in runs) >= CRASHES
    assert not any(run.lost or run.doubled or run.wrong for run in runs)


def test_every_cut_of_the_history_met_the_stream() -> None:
    rows = read_handoff()
    assert len(rows) == 200
    assert all(row.equal and row.missing and row.excess for row in rows)
