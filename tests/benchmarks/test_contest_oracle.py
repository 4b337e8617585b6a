"""The contest's oracle, against a schedule worked out by hand, and its eye for differences."""

from __future__ import annotations

import json
from math import log

from benchmarks.oracle import Model, Output, State, differences, outputs, states
from benchmarks.stream import DAY_S, Line

NEAR, FAR = 0, 1
MODEL = Model(
    ("recency", "frequency", "monetary"),
    (0.0, 0.0, log(11)),
    (1.0, 1.0, 2.0),
    # 10 pounds by one order stand at (., ln 2, 0); 100 pounds by two at (., ln 3, ln(101/11) / 2 = 1.11)
    ((0.0, log(2), 0.0), (0.0, log(3), 1.11)),
)


def line(invoice: str, day: int, quantity: int, price: int, customer: str = "7") -> Line:
    return Line("", invoice, customer, day * DAY_S + 5, quantity, price)


SCHEDULE = [
    line("a", 1_000, 10, 100),  # 10.00 by one order: NEAR, the first is put out
    line("b", 1_100, 5, 1_000),  # 60.00 by two orders
    line("b", 1_100, 4, 1_000),  # 100.00 by two orders: its order goes on
    line("C1", 1_200, -11, 1_000),  # -10.00: outside, though two orders are positive
    line("d", 1_250, 1, 2_000),  # 10.00 by three orders, the last today
    line("e", 1_365, 1, 100),  # the order of day 1,000 is 365 days old and gone: 90 - 110 + 20 + 1 = 1.00, three orders
    line("x", 1_365, -1, 500, "8"),  # a return alone: outside
]


def test_the_outputs_are_those_of_the_hand_worked_schedule() -> None:
    """Distances squared, with recency 0:

    day 1,000: f 1, 10.00: to NEAR 0
    day 1,100: f 2, 60.00: x = (0, 1.0986, 0.8565): NEAR 0.405^2 + 0.857^2 = 0.90, FAR 0 + 0.254^2 = 0.06
    day 1,100: f 2, 100.00: FAR still
    day 1,200: -10.00: outside
    day 1,250: f 3, 10.00: x = (0, 1.3863, 0): NEAR 0.693^2 = 0.48, FAR 0.288^2 + 1.11^2 = 1.31
    day 1,365: f 3, 1.00: x = (0, 1.3863, -0.852): NEAR still
    """
    assert outputs(SCHEDULE, MODEL) == {
        "7": [Output(NEAR, 1, 1_000), Output(FAR, 2, 6_000), Output(-1, 2, -1_000), Output(NEAR, 3, 1_000)],
        "8": [Output(-1, 0, -500)],
    }


def test_an_order_counts_on_its_364th_day_and_not_on_its_365th() -> None:
    for age, frequency in ((364, 2), (365, 1)):
        found = outputs([line("a", 1_000, 1, 100), line("b", 1_000 + age, 20, 1_000)], MODEL)["7"]
        assert found[-1] == Output(FAR, frequency, 20_000 + (100 if frequency == 2 else 0))


def test_the_final_states_keep_the_day_of_the_horizon_as_the_product_does() -> None:
    assert states(SCHEDULE, 1_365) == {"7": State(4, 1_100, 0), "8": State(0, -500, None)}
    assert states(SCHEDULE, 1_466)["7"] == State(2, -8_900, 101)


def records(found: dict[str, list[Output]]) -> list[tuple[bytes, bytes]]:
    return [
        (customer.encode(), json.dumps({"customer_id": customer, **output._asdict()}).encode())
        for customer, his in found.items()
        for output in his
    ]


def test_the_comparison_finds_every_planted_difference() -> None:
    expected = outputs(SCHEDULE, MODEL)
    right = records(expected)
    assert differences(expected, right) == []
    assert len(differences(expected, right[1:])) == 1  # one is missing
    assert len(differences(expected, [*right, right[0]])) == 1  # one comes again
    assert len(differences(expected, [right[1], right[0], *right[2:]])) == 1  # two have changed places
    assert len(differences(expected, [(b"9", right[0][1]), *right[1:]])) == 1  # one stands under another's key
    other = records({"7": [Output(NEAR, 1, 1_001)]})
    assert len(differences(expected, [*other, *right[1:]])) == 1  # a penny too much
