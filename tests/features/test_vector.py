import math
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.history.csv_source import fold_history, read_history
from features.ledger import FOLDED, Ledger, empty, expire, fold, from_lines
from features.vector import COORDINATE_SCALE, NAMES, RFM, Vectors, coordinate, vectors
from tests.features.ledgers import Line, as_table, columns, lines

DAY = date(2011, 12, 10).toordinal() - 719_163
HORIZON = 365

nan = math.nan


def plain_vector(ledger: Ledger, customer: int, day: int, first_day: int) -> dict[str, float]:
    """The features of one customer by a loop: docs/features.md, line by line."""
    orders: dict[object, list[tuple[int, int, int, int]]] = {}
    for (owner, order, at), (net, units, _, folded) in as_table(ledger).items():
        if owner == customer:
            key: object = (order, at) if order == FOLDED else order
            orders.setdefault(key, []).append((net, units, at, folded))
    counted = []
    for days_of_order in orders.values():
        total, pieces = (sum(each[i] for each in days_of_order) for i in (0, 1))
        # A return makes no order younger: its day is the last one with something bought, if there is one.
        sold_on = [at for net, _, at, _ in days_of_order if net > 0]
        at = max(sold_on or [at for *_, at, _ in days_of_order])
        counted.append((total, pieces, at, days_of_order[0][3] or int(total > 0)))
    nets = [net for days_of_order in orders.values() for net, *_ in days_of_order]
    sold, came_back = sum(net for net in nets if net > 0), -sum(net for net in nets if net < 0)
    bought = [(net, units, at, count) for net, units, at, count in counted if count]
    frequency = sum(count for *_, count in bought)
    gross = sum(net for net, *_ in counted if net > 0)
    found = {
        "recency": max(day - max(at for _, _, at, _ in bought), 0) if bought else nan,
        "tenure": max(day - first_day, 0),
        "frequency": frequency,
        "monetary": sum(net for net, *_ in counted) / 10_000,
        "basket_value": gross / 10_000 / max(frequency, 1),
        "basket_items": sum(units for net, units, _, _ in counted if net > 0) / max(frequency, 1),
        "mean_gap": nan,
        "return_rate": came_back / sold if sold else nan,
    }
    if frequency > 1:
        days = [at for _, _, at, _ in bought]
        found["mean_gap"] = (max(days) - min(days)) / (frequency - 1)
    for window in (30, 90, 365):
        recent = [(net, count) for net, _, at, count in counted if at >= day - window]
        found[f"frequency_{window}"] = sum(count for _, count in recent)
        found[f"monetary_{window}"] = sum(net for net, _ in recent) / 10_000
    return found


small = lines.map(lambda line: line._replace(amount=line.amount % 2_001 - 1_000, units=line.units % 21 - 10))


@given(st.lists(small, max_size=30), st.integers(14_990, 15_400), st.sampled_from([1, 2, 1_000]))
def test_every_feature_is_what_a_loop_over_the_orders_gives(rows: list[Line], day: int, cap: int) -> None:
    ledger = fold(from_lines(columns(rows)), cap)
    first_day = np.array([15_000, 14_000, 15_008, 15_004, 2**31 - 1])
    found = vectors(ledger, 5, day, first_day)
    for customer in range(5):
        expected = plain_vector(ledger, customer, day, int(first_day[customer]))
        for name in NAMES:
            assert found.values[name][customer] == pytest.approx(expected[name], rel=1e-12, nan_ok=True), name
        assert found.lapsed[customer] == all(row.owner != customer for row in rows)
        assert found.clustered[customer] == (expected["frequency"] > 0 and expected["monetary"] > 0)


@pytest.fixture(scope="module")
def dataset(real_dataset: Path | None) -> Path:
    """UCI's file where it is at hand, else the sample."""
    return real_dataset or Path(__file__).parents[2] / "Dataset" / "sample.csv.gz"


@pytest.fixture(scope="module")
def orders(dataset: Path) -> pd.DataFrame:
    """Every order, read, cleaned and summed by pandas; `net` in units of the currency."""
    needed = ["CustomerID", "InvoiceNo", "InvoiceDate", "UnitPrice", "Quantity"]
    frame = pd.read_csv(dataset, dtype=str, keep_default_na=False, usecols=needed)
    frame["at"] = pd.to_datetime(frame["InvoiceDate"], format="%m/%d/%Y %H:%M", errors="coerce")
    frame["price"] = pd.to_numeric(frame["UnitPrice"], errors="coerce")
    frame["units"] = pd.to_numeric(frame["Quantity"], errors="coerce")
    good = frame["at"].notna() & frame["price"].between(0.0001, 1e7)
    good &= (frame["units"] % 1 == 0) & (frame["units"] != 0) & (frame["units"].abs() <= 1e9)
    frame = frame[good & (frame["CustomerID"] != "")]
    frame = frame[(frame["price"] * 10_000 - (frame["price"] * 10_000).round()).abs() < 1e-4].copy()
    frame["day"] = (frame["at"].dt.normalize() - pd.Timestamp("1970-01-01")).dt.days
    frame["net"] = (frame["price"] * 10_000).round().astype("int64") * frame["units"].astype("int64")
    keys = ["CustomerID", "InvoiceNo"]
    return frame.groupby([*keys, "day"]).agg(net=("net", "sum"), units=("units", "sum")).reset_index()


@pytest.fixture(scope="module")
def in_horizon(orders: pd.DataFrame) -> pd.DataFrame:
    recent = orders[orders["day"] >= DAY - HORIZON]
    summed = recent.groupby(["CustomerID", "InvoiceNo"]).agg(
        net=("net", "sum"), units=("units", "sum"), day=("day", "max")
    )
    # The last day of an order on which more was bought than given back; where there is none, its last day.
    sold_on = recent[recent["net"] > 0].groupby(["CustomerID", "InvoiceNo"])["day"].max()
    summed["day"] = sold_on.reindex(summed.index).fillna(summed["day"]).astype("int64")
    return summed.reset_index()


@pytest.fixture(scope="module")
def everyone(dataset: Path) -> tuple[tuple[str, ...], Vectors]:
    history = read_history([dataset])
    customers, ledger = fold_history(history)
    first_day = np.full(len(customers), 2**31 - 1)
    np.minimum.at(first_day, history.owner, history.day)
    return customers, vectors(expire(ledger, DAY - HORIZON)[0], len(customers), DAY, first_day)


def test_the_vectors_of_the_dataset_are_what_pandas_computes(
    everyone: tuple[tuple[str, ...], Vectors], orders: pd.DataFrame, in_horizon: pd.DataFrame
) -> None:
    customers, found = everyone
    bought = in_horizon[in_horizon["net"] > 0].groupby("CustomerID")
    gross = bought["net"].sum()
    days_of_orders = orders[orders["day"] >= DAY - HORIZON].set_index("CustomerID")["net"]
    sold, came_back = (by.groupby("CustomerID").sum() for by in (days_of_orders.clip(0), -days_of_orders.clip(None, 0)))
    table = pd.DataFrame(index=list(customers))
    table["recency"] = DAY - bought["day"].max()
    table["tenure"] = DAY - orders.groupby("CustomerID")["day"].min()
    table["frequency"] = bought.size()
    table["monetary"] = in_horizon.groupby("CustomerID")["net"].sum() / 10_000
    for days in (30, 90, 365):
        recent = in_horizon[in_horizon["day"] >= DAY - days]
        table[f"frequency_{days}"] = recent[recent["net"] > 0].groupby("CustomerID").size()
        table[f"monetary_{days}"] = recent.groupby("CustomerID")["net"].sum() / 10_000
    table["basket_value"] = gross / 10_000 / bought.size()
    table["basket_items"] = bought["units"].sum() / bought.size()
    table["mean_gap"] = ((bought["day"].max() - bought["day"].min()) / (bought.size() - 1)).where(bought.size() > 1)
    table["return_rate"] = (came_back / sold).where(sold > 0)
    undefined = ["recency", "mean_gap", "return_rate"]
    table = table.fillna({name: 0 for name in NAMES if name not in undefined})
    assert set(table.columns) == set(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found.values[name], table[name].to_numpy(), rtol=1e-12, atol=0, err_msg=name)


def test_the_horizon_of_the_dataset(
    everyone: tuple[tuple[str, ...], Vectors], in_horizon: pd.DataFrame, real_dataset: Path | None
) -> None:
    customers, found = everyone
    here, net = int((~found.lapsed).sum()), int(np.rint(found.values["monetary"].sum() * 10_000))
    positive = int(found.values["frequency"].sum())
    without_net = int((found.values["monetary"][~found.lapsed] <= 0).sum())
    by_customer = in_horizon.groupby("CustomerID")["net"].sum()
    assert (here, net, positive) == (len(by_customer), in_horizon["net"].sum(), (in_horizon["net"] > 0).sum())
    assert without_net == (by_customer <= 0).sum()
    if real_dataset is not None:
        assert (here, len(customers) - here) == (4_295, 76)
        assert (net, positive, without_net) == (79_954_424_640, 17_756, 52)


def test_a_return_does_not_rejuvenate() -> None:
    ledger = from_lines(columns([Line(0, 1, 15_000, 500, 5), Line(0, 2, 15_020, -100, -1)]))
    found = vectors(ledger, 1, 15_030, np.array([15_000])).values
    assert found["recency"].tolist() == [30]
    assert found["return_rate"].tolist() == [0.2]


def test_an_order_that_came_back_whole_is_no_order_any_more() -> None:
    ledger = from_lines(columns([Line(0, 1, 15_000, 500, 5), Line(0, 1, 15_020, -500, -5)]))
    found = vectors(ledger, 1, 15_030, np.array([15_000]))
    assert found.values["frequency"].tolist() == [0]
    assert np.isnan(found.values["recency"]).all()
    assert found.values["return_rate"].tolist() == [1]
    assert not found.clustered.any()


def test_recency_goes_back_to_the_order_before_when_the_last_one_came_back_whole() -> None:
    rows = [Line(0, 1, 15_000, 300, 3), Line(0, 2, 15_020, 500, 5), Line(0, 2, 15_025, -500, -5)]
    found = vectors(from_lines(columns(rows)), 1, 15_030, np.array([15_000])).values
    assert (found["recency"].tolist(), found["frequency"].tolist()) == ([30], [1])
    assert (found["monetary"].tolist(), found["basket_value"].tolist()) == ([0.03], [0.03])


def test_what_comes_back_of_an_order_makes_it_no_younger() -> None:
    rows = [Line(0, 1, 15_000, 300, 3), Line(0, 2, 15_080, 500, 5), Line(0, 1, 15_090, -100, -1)]
    found = vectors(from_lines(columns(rows)), 1, 15_100, np.array([15_000])).values
    assert (found["recency"].tolist(), found["frequency"].tolist()) == ([20], [2])
    assert found["mean_gap"].tolist() == [80]
    # The return corrects the order where it was bought, which is outside the window of 30 days.
    assert (found["frequency_30"].tolist(), found["monetary_30"].tolist()) == ([1], [0.05])
    assert found["monetary_365"].tolist() == found["monetary"].tolist() == [0.07]
    assert found["basket_value"].tolist() == [0.035]
    assert found["return_rate"].tolist() == [100 / 800]


def test_a_return_counts_the_same_in_the_return_rate_whether_it_names_its_order_or_not() -> None:
    tied = [Line(0, 1, 15_000, 500, 5), Line(0, 1, 15_020, -100, -1)]
    alone = [tied[0], tied[1]._replace(order=2)]
    rates = [
        vectors(from_lines(columns(r)), 1, 15_030, np.array([15_000])).values["return_rate"] for r in (tied, alone)
    ]
    assert rates[0].tolist() == rates[1].tolist() == [0.2]


def test_a_return_whose_order_has_expired_stands_alone() -> None:
    rows = [Line(0, 1, 15_000, 500, 5), Line(0, 2, 15_100, 900, 9), Line(0, 1, 15_200, -100, -1)]
    before, _ = expire(from_lines(columns(rows)), 15_000)
    after, _ = expire(from_lines(columns(rows)), 15_001)
    nets = [vectors(ledger, 1, 15_365, np.array([15_000])).values["monetary"].tolist() for ledger in (before, after)]
    assert nets == [[0.13], [0.08]]
    found = vectors(after, 1, 15_366, np.array([15_000])).values
    assert (found["frequency"].tolist(), found["recency"].tolist()) == ([1], [266])
    assert found["return_rate"].tolist() == [100 / 900]


def test_a_return_of_an_order_that_was_folded_stands_alone_and_the_order_goes_on_counting() -> None:
    rows = [Line(0, 1, 15_000, 500, 5), Line(0, 2, 15_100, 900, 9), Line(0, 1, 15_200, -500, -5)]
    found = vectors(fold(from_lines(columns(rows)), cap=2), 1, 15_300, np.array([15_000])).values
    assert (found["frequency"].tolist(), found["recency"].tolist()) == ([2], [200])
    assert found["monetary"].tolist() == [0.09]
    assert found["return_rate"].tolist() == [500 / 1400]


def test_an_order_of_several_days_counts_once_on_its_last_day() -> None:
    ledger = from_lines(columns([Line(0, 1, 15_000, 500, 5), Line(0, 1, 15_020, 300, 5)]))
    found = vectors(ledger, 1, 15_030, np.array([15_000])).values
    assert (found["frequency"].tolist(), found["recency"].tolist()) == ([1], [10])
    assert (found["frequency_30"].tolist(), found["monetary_30"].tolist()) == ([1], [0.08])


@pytest.mark.parametrize("days", [30, 90, 365])
def test_a_window_holds_its_first_day_and_not_the_one_before(days: int) -> None:
    rows = [Line(0, 1, 15_500 - days, 10_000, 1), Line(0, 2, 15_499 - days, 20_000, 1)]
    found = vectors(from_lines(columns(rows)), 1, 15_500, np.array([15_000])).values
    assert (found[f"frequency_{days}"].tolist(), found[f"monetary_{days}"].tolist()) == ([1], [1])


def test_who_has_no_order_is_lapsed_and_finite_in_every_coordinate() -> None:
    found = vectors(empty(), 2, 15_000, np.array([14_000, 2**31 - 1]))
    assert found.lapsed.all()
    assert not found.clustered.any()
    assert found.values["tenure"].tolist() == [1_000, 0]
    assert np.isfinite(found.coordinates(NAMES, 30)).all()


def test_only_the_features_asked_for_are_computed() -> None:
    ledger = from_lines(columns([Line(0, 1, 15_000, 500, 5)]))
    assert set(vectors(ledger, 1, 15_000, np.array([15_000]), RFM).values) == set(RFM)
    assert set(vectors(ledger, 1, 15_000, np.array([15_000]), ("tenure",)).values) == {"tenure"}


@given(st.lists(small, max_size=30), st.integers(14_990, 15_400), st.sampled_from([1, 7, 30, 365]))
def test_a_coordinate_is_the_logarithm_of_the_feature_in_steps_of_two_to_the_minus_24(
    rows: list[Line], day: int, offset: int
) -> None:
    found = vectors(from_lines(columns(rows)), 4, day, np.full(4, 15_000))
    coordinates = found.coordinates(RFM, offset)
    assert (coordinates.dtype, coordinates.shape) == (np.dtype(np.int64), (4, 3))
    for j, name in enumerate(RFM):
        for i, value in enumerate(found.values[name].tolist()):
            clipped = 0.0 if math.isnan(value) else max(value, 0.0)
            added = offset if name == "recency" else 1
            assert coordinates[i, j] == pytest.approx(math.log(clipped + added) * COORDINATE_SCALE, abs=0.51)


def test_an_offset_of_one_day_is_log1p_to_the_last_bit() -> None:
    days = np.arange(4_000, dtype=np.float64)
    assert coordinate("recency", days, 1).tolist() == [round(math.log1p(day) * 2**24) for day in range(4_000)]


def test_the_offset_moves_recency_alone() -> None:
    values = np.array([0.0, 12.0, 400.0])
    assert all((coordinate(name, values, 30) == coordinate(name, values, 1)).all() for name in set(NAMES) - {"recency"})
    assert (coordinate("recency", values, 30) == coordinate("recency", values + 29, 1)).all()


@given(st.lists(lines, max_size=30), st.integers(14_990, 15_400))
def test_ages_never_run_backwards_and_coordinates_are_never_negative(rows: list[Line], day: int) -> None:
    found = vectors(from_lines(columns(rows)), 4, day, np.full(4, 15_004))
    assert (found.values["tenure"] >= 0).all()
    assert not (found.values["recency"] < 0).any()
    assert (found.coordinates(NAMES, 1) >= 0).all()
