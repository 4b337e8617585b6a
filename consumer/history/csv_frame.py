"""A history as the table that the workbench reads: everything that was readable, with what each line is.

History (everything) --> reports.workbench.lines
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from consumer.history.csv_cleaning import is_non_product
from consumer.history.csv_rows import is_cancellation
from consumer.history.csv_source import History
from consumer.history.csv_texts import Texts
from features.ledger import MONEY


def frame(history: History) -> pd.DataFrame:
    """Return the lines of a history that was read with `everything`, as `reports.workbench.lines` describes them."""
    customers = pd.Categorical.from_codes(history.owner.astype(np.int32), categories=pd.Index(history.customers))
    columns = {
        "customer": customers.remove_categories([""]) if "" in history.customers else customers,
        "invoice": _category(history.invoice_no),
        "stock_code": _category(history.stock_code),
        "description": _category(history.description),
        "country": _category(history.country),
        "time": history.time.astype("datetime64[s]"),
        "quantity": history.quantity,
        "price": history.price / MONEY,
        "amount": history.amount / MONEY,
        "units": history.units,
        "cancelled": history.invoice_no.where(is_cancellation),
        "non_product": history.stock_code.where(is_non_product),
    }
    lines = pd.DataFrame(columns)
    # Everything that the line says and that is not worked out from it.
    lines["repeat"] = lines.iloc[:, :8].duplicated()
    lines["kept"] = history.kept
    return lines


def _category(texts: Texts) -> pd.Categorical:
    used, codes = np.unique(texts.codes, return_inverse=True)
    return pd.Categorical.from_codes(codes, categories=pd.Index([texts.values[i] for i in used.tolist()]))
