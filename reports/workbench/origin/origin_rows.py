"""The rows of the table "theirs, corrected, why": what each figure is, and in a sentence why ours is another.

A sentence says only what was counted in these lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.transaction import date_of
from reports.workbench.lines import sales
from reports.workbench.origin import origin_recorded as recorded
from reports.workbench.origin.origin_churn import BOOSTED, leaky_auc
from reports.workbench.origin.origin_kmeans import FITS, Run, agrees
from reports.workbench.origin.origin_steps import Origin
from reports.workbench.outlook.churn_models import FOREST, LOGISTIC, auc, cutoffs, leaky_label, tried
from reports.workbench.phrases import count, day, listed, share
from reports.workbench.study import Study

Figure = int | float | str | None

SEED = 42
"""The origin's own."""

SAME_AUC = 5e-4
"""What two random splits of the same customers differ by: 0.9994 to 0.9999 were seen."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. recorded: None where nothing was recorded, or on another file; digits: decimals to print.

    within: the greatest difference at which it counts as reproduced; None where the recorded figure is a matter of
    luck (a local optimum of one unknown seed), so that a difference proves nothing.
    """

    part: str
    what: str
    recorded: Figure
    reproduced: Figure
    corrected: Figure
    why: str
    digits: int = 0
    within: float | None = 0.0

    @property
    def differs(self) -> bool:
        """Whether a figure that can be reproduced was not."""
        if self.recorded is None or self.within is None:
            return False
        if isinstance(self.recorded, str) or isinstance(self.reproduced, str) or self.reproduced is None:
            return self.recorded != self.reproduced
        return abs(self.recorded - self.reproduced) > self.within + 0.51 * 10.0**-self.digits * (self.digits > 0)


def lines_rows(lines: pd.DataFrame) -> Iterator[Row]:
    """Yield what was read, missing, repeated, and read in two ways."""
    guests = int(lines["customer"].isna().sum())
    busiest = int(lines["customer"].value_counts().max())
    unnamed = lines["description"] == ""
    date, repeats = lines["time"].dt, lines["repeat"]
    swapped = (date.day <= 12) & (date.day != date.month)
    fees = lines["non_product"] & lines["customer"].notna()
    kept = lines["kept"]
    yield Row(
        "Lines",
        "lines",
        recorded.LINES,
        len(lines),
        int(kept.sum()),
        "Guests' lines and those without a price above zero are not counted; each rule says how many it took out.",
    )
    yield Row(
        "Lines",
        "without a customer",
        recorded.NO_CUSTOMER,
        guests,
        guests,
        "Guests are counted and told, and in nobody's segment.",
    )
    filled = f"The value found most often is the missing one ({guests:,} lines; the busiest customer has {busiest:,})"
    yield Row(
        "Lines",
        "without a customer, after filling in the most frequent one",
        None,
        guests if guests > busiest else 0,
        guests,
        (
            f"{filled}, so the step fills in nothing; "
            if guests > busiest
            else "The step makes one customer of all guests; "
        )
        + "and nobody's purchases should become somebody's. Nothing is filled in.",
    )
    yield Row(
        "Lines",
        "without a description",
        recorded.NO_DESCRIPTION,
        int(unnamed.sum()),
        int((unnamed & kept).sum()),
        "Corrected: of the lines that count. A product is known by its stock code and shown by its usual description.",
    )
    yield Row(
        "Lines",
        "dates that are also valid with day and month swapped",
        None,
        int(swapped.sum()),
        0,
        "Month first is tried on each date by itself, then day first. Here the file as a whole proves its order, "
        "by a number above 12, or is refused.",
    )
    value = float(lines.loc[repeats & kept, "amount"].sum()) / float(lines.loc[kept, "amount"].sum() or np.nan)
    yield Row(
        "Lines",
        "lines equal to an earlier one",
        None,
        int(repeats.sum()),
        int((repeats & kept).sum()),
        f"They stay unseen. Here they are told ({share(value, 2)} of the net) and stay: nothing tells a repeat from "
        "the same thing bought twice. `--drop-repeats` leaves them out.",
    )
    yield Row(
        "Lines",
        "customers' lines that are no products (postage, fees, discounts)",
        None,
        int(fees.sum()),
        int((fees & kept).sum()),
        "They stay unseen. Here they are counted and stay in the net, which is what was paid; `--drop-non-products` "
        "leaves them out.",
    )


def customers_rows(origin: Origin, study: Study) -> Iterator[Row]:
    """Yield who counts, with how many orders, and what the score says of two of them."""
    lines = study.lines
    assert lines is not None
    everybody, rows = study.customers, origin.scored
    known = lines[lines["customer"].notna()]
    invoices = known.drop_duplicates(["customer", "invoice"])
    cancelled = int(invoices["cancelled"].sum())
    of_segment = everybody["segment"].value_counts()
    dropped = len(origin.rfm) - len(rows)
    yield Row(
        "Customers",
        "customers",
        recorded.CUSTOMERS,
        len(origin.rfm),
        len(study.ids),
        f"{count(len(origin.rfm) - len(study.ids), 'customer')} had no line with a price.",
    )
    yield Row(
        "Customers",
        "customers that are clustered",
        recorded.SCORED,
        len(rows),
        len(study.clustered),
        f"{count(dropped, 'customer')} whose net is -1 or less vanish: ln(M + 1) does not exist. Here nobody vanishes: "
        f"{of_segment['No net purchases']:,} stand in `No net purchases`, {of_segment['Lapsed']:,} in `Lapsed`.",
    )
    yield Row(
        "Customers",
        "orders",
        None,
        len(invoices),
        sales(lines).drop_duplicates(["customer", "invoice"]).shape[0],
        f"{cancelled:,} cancellations count as orders: giving back makes a better customer. Here an order sells "
        "something.",
    )
    together = float(rows["score"].corr(rows["recency"])) if len(rows) > 1 else float("nan")
    yield Row(
        "Customers",
        "correlation of score and recency",
        None,
        together,
        "recency once, ln(days + 1)",
        "The score adds days to logarithms, so it is recency again, and both are clustered: recency counts twice and "
        "decides nearly alone.",
        digits=4,
    )
    frequency, segment = everybody["frequency"], everybody["segment"].astype(str)
    for who, score, name in (
        (recorded.BUYER, recorded.BUYER_SCORE, recorded.BUYER_NAME),
        (recorded.LAPSED, recorded.LAPSED_SCORE, recorded.LAPSED_NAME),
    ):
        if who not in rows.index or who not in segment.index:
            continue
        silent, invoices_of = int(rows["recency"].to_dict()[who]), int(rows["frequency"].to_dict()[who])
        if who == recorded.BUYER:
            yield Row(
                "Customers",
                f"invoices of customer {who}",
                recorded.BUYER_INVOICES,
                invoices_of,
                int(frequency[who]),
                "Corrected: orders with a net above zero.",
            )
        yield Row(
            "Customers",
            f"score of customer {who} ({count(invoices_of, 'invoice')}, {count(silent, 'day')} ago)",
            score,
            float(rows["score"].to_dict()[who]),
            segment[who],
            f"Called {name}: a high score means a long silence, so the names are upside down. Here a name follows from "
            "the segment's ranks by freshness and value.",
            digits=6,
        )


def choosing_rows(runs: dict[int, Run], best: dict[int, float], study: Study, theirs: bool) -> Iterator[Row]:
    """Yield, by k, the recorded run beside the best, and the k that followed.

    runs, best: by k, the nearest run and the least WCSS; theirs: whether the figures were recorded on this file.
    """
    table = {} if study.choice is None else {each.k: each for each in study.choice.table}
    for k, run in runs.items():
        same = theirs and agrees(run, recorded.RUNS[k])
        within = 0.0 if k <= recorded.LAST_REPRODUCED else None
        yield Row(
            "Choosing k",
            f"k = {k}: within-cluster sum of squares",
            recorded.RUNS[k][0],
            run.wcss,
            best[k],
            _why_wcss(k, run, best[k], theirs, same),
            digits=6,
            within=within,
        )
        stable = table.get(k)
        yield Row(
            "Choosing k",
            f"k = {k}: silhouette",
            recorded.RUNS[k][1],
            run.silhouette,
            None if stable is None else stable.silhouette,
            "On squared distances, which flatter."
            + (
                " Corrected: on distances, of ln RFM with recency once."
                if stable is None
                else f" Corrected: on distances, of ln RFM with recency once; resamples agree to "
                f"{stable.stability:.2f} (mean adjusted Rand index)."
            ),
            digits=6,
            within=within,
        )
    greatest = max(runs, key=lambda k: runs[k].silhouette) if runs else None
    yield Row(
        "Choosing k",
        "k",
        recorded.CHOSEN_K,
        greatest,
        study.bundle.k,
        "The greatest silhouette only splits the active from the rest. Corrected: "
        + ("as given." if study.choice is None else f"{study.choice.reason}."),
    )


def _why_wcss(k: int, run: Run, best: float, theirs: bool, same: bool) -> str:
    least = f"Corrected: the least of {FITS} starts that run to their end"
    if not theirs:
        return f"{least}."
    worse = recorded.RUNS[k][0] / best - 1
    # Two digits of it, however small it is.
    ended = f"the recorded run ends {share(worse, max(2, -int(np.log10(max(worse, 1e-12)))))} above it"
    if same:
        return f"{least}; {ended}."
    off = abs(run.wcss / recorded.RUNS[k][0] - 1)
    return f"{least}; {ended}, a local optimum of one seed: the nearest start that is known is {off:.1e} away."


def clusters_rows(origin: Origin, runs: dict[int, Run], study: Study) -> Iterator[Row]:
    """Yield the origin's two clusters beside this project's segments."""
    if recorded.CHOSEN_K not in runs:
        return
    recency = origin.scored["recency"].to_numpy(np.float64)
    labels = runs[recorded.CHOSEN_K].labels
    found = sorted(
        (float(recency[labels == i].mean()), int((labels == i).sum()), i) for i in np.unique(labels).tolist()
    )
    if len(found) < 2:
        return
    middle = (found[0][0] + found[1][0]) / 2
    alike = float(((recency > middle) == (labels == found[1][2])).mean())
    ours = study.clustered.groupby("segment", observed=True)["recency"].agg(["size", "mean"]).loc[study.segments]
    sizes = listed([f"{name} {n:,}" for name, n in ours["size"].items()])
    means = listed([f"{name} {mean:.0f}" for name, mean in ours["mean"].items()])
    for name, (mean, size, _), customers, days in zip(
        ("fresh", "silent"), found, recorded.SIZES, recorded.RECENCIES, strict=True
    ):
        why = f"{share(alike)} of the customers lie where recency alone puts them (above {middle:.0f} days or not)."
        yield Row("Clusters", f"{name} cluster: customers", customers, size, sizes, why)
        yield Row("Clusters", f"{name} cluster: mean recency in days", days, mean, means, why, digits=2)


def churn_rows(origin: Origin, study: Study) -> Iterator[Row]:
    """Yield the origin's label and what its models made of it, beside a label out of the future."""
    label = leaky_label(origin.scored).to_numpy()
    leaky = leaky_auc(origin.x, label, SEED)
    honest: dict[str, float] = {}
    silent = None
    try:
        trial = tried(study, *cutoffs(study))
    except ValueError as error:
        told = f"Corrected: not said. {error}"
    else:
        later = trial.judged_on["silent"].to_numpy()
        honest = {
            name: float(auc(later, chance, np.ones((1, len(later))))[0]) for name, chance in trial.chances.items()
        }
        silent = f"{int(later.sum()):,} of {len(later):,} ({share(float(later.mean()))})"
        told = (
            f"Corrected: known before {day(date_of(trial.second))}, silent for the {trial.window} days from then on; "
            f"learned from the {trial.window} days from {day(date_of(trial.first))}."
        )
    yield Row(
        "Churn",
        f"churned, of {len(label):,}",
        recorded.CHURNED,
        int(label.sum()),
        silent,
        f"Recency above 90 or fewer than 2 invoices: a label out of the features. {told}",
    )
    for name, figure in ((FOREST, recorded.FOREST_AUC), (BOOSTED, recorded.BOOSTED_AUC), (LOGISTIC, None)):
        yield Row(
            "Churn",
            f"area under the ROC curve, {name}",
            figure,
            leaky.get(name),
            honest.get(name),
            "Not tried there." if figure is None else "It learns its own label back: leakage, not foresight.",
            digits=5,
            within=SAME_AUC,
        )
