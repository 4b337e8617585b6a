"""What is kept of a description is given again only while everything that it was made of stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from consumer.commands.lookup import Customer, Group, Opened, Row, describe, opened, read_rows
from consumer.serving import told
from consumer.serving.told import Told
from tests.consumer.serving.conftest import Shop


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever is computed, in order."""
    names: list[str] = []

    def noted(group: Group) -> list[Customer]:
        names.extend(group.customers)
        return describe(group)

    monkeypatch.setattr(told, "describe", noted)
    return names


@pytest.fixture
def state(shop: Shop) -> Opened:
    return opened(shop.settings)


def test_the_same_row_is_computed_once(shop: Shop, state: Opened, computed: list[str]) -> None:
    kept, some = Told(), read_rows(state, shop.ids[:3])
    assert kept.of(state, some) == kept.of(state, some)
    more = read_rows(state, shop.ids[2:5])
    assert kept.of(state, more).keys() == set(shop.ids[2:5])
    assert computed == [row.customer for row in some] + [row.customer for row in more if row not in some]


@pytest.mark.parametrize(
    "changed",
    [
        {"day": 15_200},
        {"number": 9},
        {"cursor": 0},
    ],
)
def test_a_day_or_a_sweep_later_it_is_computed_anew(
    shop: Shop, state: Opened, computed: list[str], changed: dict[str, Any]
) -> None:
    kept, (row,) = Told(), read_rows(state, shop.ids[:1])
    kept.of(state, [row])
    standing = msgspec.structs.replace(row.standing, sweep=msgspec.structs.replace(row.standing.sweep, **changed))
    other = row._replace(standing=standing)
    assert kept.of(state, [other]) == Told().of(state, [other])
    assert len(computed) == 3


def test_other_bytes_or_another_generation_are_computed_anew(shop: Shop, state: Opened, computed: list[str]) -> None:
    one, other = read_rows(state, shop.ids[:2])
    kept = Told()
    kept.of(state, [one])
    changed = Row(one.customer, one.partition, other.blob, one.standing)
    assert kept.of(state, [changed])[one.customer].records == Told().of(state, [other])[other.customer].records
    kept.of(replace(state, binding=msgspec.structs.replace(state.binding, generation="2")), [one])
    assert len(computed) == 4


def test_who_was_not_asked_for_longest_gives_way(
    shop: Shop, state: Opened, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(told, "KEPT", 2)
    kept = Told()
    a, b, c = ([row] for row in read_rows(state, shop.ids[:3]))
    for rows in (a, b, a, c):
        kept.of(state, rows)
    computed.clear()
    kept.of(state, a)
    assert computed == []
    kept.of(state, b)
    assert computed == [b[0].customer]


def test_without_its_model_nothing_is_kept(
    shop: Shop, state: Opened, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, rows = Told(), read_rows(state, shop.ids[:1])
    monkeypatch.setattr(Opened, "model", lambda *_: None)
    assert kept.of(state, rows)[shop.ids[0]].distances == {}
    monkeypatch.undo()
    assert kept.of(state, rows)[shop.ids[0]].distances != {}
