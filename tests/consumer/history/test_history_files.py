"""Files as a command names them: what is said where no row of theirs counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.history.csv_columns import CsvError
from consumer.history.history_files import HistoryFiles
from consumer.settings import Settings

HEADER = "customer_id;invoice_no;invoice_date;quantity;unit_price;currency\n"


def refusal(folder: Path, *rows: str) -> str:
    path = folder / "orders.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    with pytest.raises(CsvError) as refused:
        HistoryFiles([path]).read(Settings(_env_file=None, currency="GBP"), lambda _stage, _done, _of: None)
    return str(refused.value)


def test_a_file_in_another_currency_names_the_setting_that_says_which_one_counts(tmp_path: Path) -> None:
    said = refusal(tmp_path, "a;1;2026-01-02;1;2.50;EUR", "b;2;2026-01-02;1;2.50;EUR")
    assert said.endswith(
        "none of 2 rows can be counted: 2 foreign currency; SEGMENTER_CURRENCY is GBP: set it to the file's"
    )


def test_rows_that_cannot_be_read_are_named_with_the_reason(tmp_path: Path) -> None:
    said = refusal(tmp_path, "a;1;2026-01-02;1;free;GBP")
    assert said.endswith("row 2: the price cannot be read")


def test_a_header_alone_is_no_history(tmp_path: Path) -> None:
    assert "a header alone is no history" in refusal(tmp_path)
