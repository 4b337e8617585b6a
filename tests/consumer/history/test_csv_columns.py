import pytest

from consumer.history.csv_columns import CsvError, CsvOptions, parse_map, resolve, separator_of

UCI = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
ONLINE_RETAIL_2 = ["Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country"]
OURS = ["invoice_no", "stock_code", "description", "quantity", "invoice_date", "unit_price", "customer_id", "country"]


@pytest.mark.parametrize("headers", [UCI, ONLINE_RETAIL_2, OURS])
def test_a_known_header_needs_no_map(headers: list[str]) -> None:
    assert resolve(headers, {}, "a.csv") == dict(zip(OURS, headers, strict=True))


def test_the_map_wins_over_a_known_header() -> None:
    columns = resolve([*UCI, "Client"], {"customer_id": "Client"}, "a.csv")
    assert columns["customer_id"] == "Client"


def test_a_mapped_header_is_not_taken_for_its_known_field_too() -> None:
    columns = resolve(["CustomerID", "InvoiceDate", "Price"], {"amount": "Price"}, "a.csv")
    assert columns == {"amount": "Price", "customer_id": "CustomerID", "invoice_date": "InvoiceDate"}


def test_an_amount_stands_for_quantity_and_price() -> None:
    columns = resolve([*UCI, "Total"], {"amount": "Total"}, "a.csv")
    assert "quantity" not in columns
    assert "unit_price" not in columns


def test_an_amount_beside_a_mapped_quantity_is_refused() -> None:
    with pytest.raises(CsvError, match="map either it or quantity"):
        resolve([*UCI, "Total"], {"amount": "Total", "quantity": "Quantity"}, "a.csv")


def test_missing_columns_are_named_with_what_was_found_and_what_to_pass() -> None:
    with pytest.raises(CsvError) as error:
        resolve(["who", "when", "Quantity"], {"customer_id": "who"}, "shop.csv")
    said = str(error.value)
    assert said.startswith("shop.csv: no column for invoice_date, unit_price; found 'who', 'when', 'Quantity'")
    assert "--map invoice_date=<column>,unit_price=<column>" in said


def test_a_header_of_the_map_that_is_not_there_is_named() -> None:
    with pytest.raises(CsvError, match="no column is called 'Klient'; found 'InvoiceNo'"):
        resolve(UCI, {"customer_id": "Klient"}, "a.csv")


def test_a_message_shows_no_more_headers_than_one_can_read() -> None:
    with pytest.raises(CsvError, match=r"'c38', 'c39' and 60 more; pass --map") as caught:
        resolve([f"c{n}" for n in range(99)] + ["x" * 10_000], {}, "a.csv")
    assert len(str(caught.value)) < 1_000


def test_two_columns_for_one_field_are_not_chosen_between() -> None:
    with pytest.raises(CsvError, match="'InvoiceNo' and 'Invoice' could both be invoice_no; pass --map invoice_no="):
        resolve([*UCI, "Invoice"], {}, "a.csv")


def test_a_needed_header_that_occurs_twice_is_refused() -> None:
    with pytest.raises(CsvError, match="several columns are called 'Total'"):
        resolve(["CustomerID", "InvoiceDate", "Total", "Total"], {"amount": "Total"}, "a.csv")


def test_an_unneeded_header_may_occur_twice() -> None:
    assert resolve([*UCI, "note", "note"], {}, "a.csv")["country"] == "Country"


def test_the_map_is_written_as_pairs() -> None:
    assert parse_map("customer_id=Client, amount = Sum paid") == {"customer_id": "Client", "amount": "Sum paid"}


@pytest.mark.parametrize("text", ["customer_id", "customer_id=", "customer_id=a,customer_id=b"])
def test_a_malformed_map_is_refused(text: str) -> None:
    with pytest.raises(CsvError, match="write field=Header"):
        parse_map(text)


def test_a_map_of_an_unknown_field_lists_the_fields() -> None:
    with pytest.raises(CsvError, match="no field is called klient; the fields are customer_id, "):
        parse_map("klient=a")


@pytest.mark.parametrize(("line", "separator"), [("a,b,c", ","), ("a;b;c,d", ";"), ("a\tb", "\t"), ("a|b", "|")])
def test_the_separator_is_the_one_that_splits_the_header_most(line: str, separator: str) -> None:
    assert separator_of(line, None) == separator


def test_a_given_separator_wins() -> None:
    assert separator_of("a,b,c", ";") == ";"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"decimal": "-"}, "--decimal"),
        ({"separator": ";;"}, "--separator"),
        ({"encoding": "klingon"}, "--encoding"),
        ({"encoding": "utf-16"}, "--encoding"),
        ({"zone": "Mars/Olympus"}, "time zone"),
    ],
)
def test_options_that_no_file_can_be_read_with_are_refused_at_once(options: dict[str, str], said: str) -> None:
    with pytest.raises(CsvError, match=said):
        CsvOptions(**options)  # type: ignore[arg-type]  # on purpose
