"""Studies of shops that no file describes: small, poor in columns, short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from features.vector import NAMES
from reports.workbench.exhibit import Section
from reports.workbench.study import Study


def without_lines(study: Study) -> Study:
    """What the running service knows."""
    return replace(study, lines=None, funnel=study.funnel.iloc[:0])


def poor(study: Study) -> Study:
    """The same shop, whose files name no product and no country and give days without hours."""
    assert study.lines is not None
    nothing = pd.Categorical.from_codes([0] * len(study.lines), categories=pd.Index([""]))
    lines = study.lines.assign(stock_code=nothing, description=nothing, country=nothing)
    return replace(study, lines=lines.assign(time=lines["time"].dt.normalize()), currency="")


def few(study: Study, segments: list[str], each: int = 2) -> Study:
    """The same shop with `each` customers of some segments; those of the others never were."""
    chosen = study.customers[study.customers["segment"].isin(segments)].groupby("segment", observed=True).head(each)
    wanted = set(chosen.index)
    places = [i for i, name in enumerate(study.ids) if name in wanted]
    ids = tuple(study.ids[i] for i in places)
    ledger = study.ledger.take(np.isin(study.ledger.owner, places))
    ledger = replace(ledger, owner=np.searchsorted(places, ledger.owner))
    lines = study.lines
    if lines is not None:
        lines = lines[lines["customer"].isin(ids)]
        lines = lines.assign(customer=lines["customer"].cat.remove_unused_categories())
    small = replace(study, ids=ids, ledger=ledger, first_day=study.first_day[places], lines=lines)
    return replace(small, customers=small.as_of(small.day))


def check(section: Section) -> None:
    """What holds of every section: keys once, sentences whole and free of gaps, data for each exhibit."""
    assert section.exhibits or section.notes
    keys = [exhibit.key for exhibit in section.exhibits]
    assert len(keys) == len(set(keys))
    for exhibit in section.exhibits:
        assert exhibit.sentence.strip().endswith("."), exhibit.key
        said = f"{exhibit.title} {exhibit.sentence}"
        assert not {"nan", "None", "inf", "NaT"} & set(said.replace(",", " ").replace(".", " ").split()), said
        assert not any(f" {name} " in said for name in NAMES if "_" in name), said
        for name in exhibit.data.columns[[str(column).endswith("share") for column in exhibit.data.columns]]:
            assert exhibit.data[name].dropna().between(0, 1).all(), (exhibit.key, name)
        if exhibit.figure is not None:
            assert not any(trace.type.endswith("gl") for trace in exhibit.figure.data)
