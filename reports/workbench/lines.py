"""Order lines as a table: what every section about products, days and countries starts from.

A frame of lines has one row a line of the files, in their order, n of them, with these columns:

    customer     category of str, missing for a guest
    invoice      category of str; stock_code, description, country: the same, "" where the file has none
    time         datetime64[s], the shop's wall clock
    quantity     int64, as the file has it
    price        float64, currency units for one
    amount       float64, signed: negative where the line takes back
    units        int64, signed in the same way
    cancelled    bool, the invoice is a cancellation
    non_product  bool, the stock code is postage, a fee, a discount or a correction
    repeat       bool, equal to an earlier line in every column
    kept         bool, in the ledger's view: what the service counts
"""

from __future__ import annotations

import pandas as pd

COLUMNS = (
    "customer",
    "invoice",
    "stock_code",
    "description",
    "country",
    "time",
    "quantity",
    "price",
    "amount",
    "units",
    "cancelled",
    "non_product",
    "repeat",
    "kept",
)


def sales(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the textbook view: lines of known customers, not cancelled, quantity and price above zero.

    Repeats and non-product codes stay.
    """
    return lines[sold(lines) & lines["customer"].notna()]


def sold(lines: pd.DataFrame) -> pd.Series:
    """Return, a line, whether something was sold, guests' lines included; bool (n,)."""
    return ~lines["cancelled"] & (lines["quantity"] > 0) & (lines["price"] > 0)


def described(lines: pd.DataFrame) -> pd.Series:
    """Return the name people know a product by: of each stock code the description most often written beside it.

    Indexed by stock code; the code itself where nothing is written.
    """
    pairs = lines.loc[lines["description"] != "", ["stock_code", "description"]].astype(str)
    counts = pairs.value_counts().reset_index()
    counts = counts.sort_values(["count", "description"], ascending=[False, True], kind="stable")
    names = counts.drop_duplicates("stock_code").set_index("stock_code")["description"]
    codes = pd.Index(lines["stock_code"].cat.categories, name="stock_code")
    return names.reindex(codes).fillna(codes.to_series()).rename("product")
