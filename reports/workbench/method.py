"""How the figures came about, and what they cannot say."""

from __future__ import annotations

import pandas as pd

from models.bundle import content_hash
from reports.workbench.exhibit import Exhibit, Section
from reports.workbench.phrases import listed
from reports.workbench.study import Study


def section(study: Study) -> Section:
    """Return the section."""
    bundle = study.bundle
    lead = (
        f"Each customer is {len(bundle.features)} numbers, {listed(bundle.features)}, counted over the "
        f"{bundle.horizon_days} days before {study.date:%-d %B %Y}; their logarithms, in standard deviations, are put "
        f"into {bundle.k} clusters by K-Means, best of several starts. The same code runs in the service, so a segment "
        "here is the segment that its topic says."
    )
    why = f"k = {bundle.k} was given, not chosen." if study.choice is None else f"k: {study.choice.reason}."
    points = (
        (
            "Net revenue is what was paid less what was taken back; an order counts if its net is above zero; a "
            "customer who gave back more than he bought is in no cluster."
        ),
        (
            "Features, formulas and units: docs/features.md. Names of segments follow from the centroids' ranks by a "
            "fixed rule: docs/segments.md. They compare customers of this shop with each other, not with another shop."
        ),
        why,
        (
            "A customer who stands nearly as near to another segment is held in his own by the service (margin "
            f"{bundle.margin:g}); a report of files, which knows no yesterday, puts everybody to the nearest."
        ),
    )
    limits = (
        "A segment says how somebody bought, not why. Nothing here proves that a campaign would change it.",
        f"The history begins on {first_day(study)}: who bought before it looks newer than he is.",
        "Customers are the ids in the data: two ids of one person are two, one id of a household is one.",
    )
    return Section("method", "Method and limits", lead, (_model(study),), points, limits)


def first_day(study: Study) -> str:
    """Return the date of the first record, as people write it."""
    return f"{pd.Timestamp(int(study.ledger.day.min()), unit='D'):%-d %B %Y}"


def _model(study: Study) -> Exhibit:
    bundle = study.bundle
    table = pd.DataFrame(bundle.centroids, columns=[f"log_{name}" for name in bundle.features])
    table.insert(0, "segment", study.segments)
    table.insert(1, "customers", list(bundle.sizes))
    return Exhibit(
        "model",
        "The model",
        f"Version {bundle.version} ({content_hash(bundle)}), made of {sum(bundle.sizes):,} customers; centroids are in "
        "natural logarithms of value + 1.",
        table,
    )
