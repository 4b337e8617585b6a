"""Tables on their way to people: rows as sentences need them, plain dictionaries; a grid as a row a mark."""

from __future__ import annotations

from typing import Any

import pandas as pd

Row = dict[str, Any]


def rows(table: pd.DataFrame) -> list[Row]:
    """Return a table's rows in their order, each a dictionary by column."""
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def greatest(table: pd.DataFrame, column: str) -> Row:
    """Return the row with the greatest value of a column, the first of equal ones; raises ValueError without any."""
    known = table.dropna(subset=[column]).nlargest(1, column)
    if known.empty:
        raise ValueError(f"no row has a {column}")
    return rows(known)[0]


def by(table: pd.DataFrame, column: str) -> dict[str, Row]:
    """Return the rows of a table by the text in a column, which is different in each."""
    return {str(row[column]): row for row in rows(table)}


def long(grid: pd.DataFrame, rows: str, columns: str, value: str) -> pd.DataFrame:
    """Return a grid as a row a cell, columns `rows`, `columns` and `value`, in the grid's order."""
    cells = pd.MultiIndex.from_product([grid.index, grid.columns], names=[rows, columns])
    return pd.DataFrame({value: grid.to_numpy().ravel()}, index=cells).reset_index()


def parts(table: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each value of a column, in the order in which the values first come."""
    return [(str(value), found) for value, found in table.groupby(column, sort=False, observed=True)]
