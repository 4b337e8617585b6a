"""A history published as events is what a bootstrap of it reads: the same lines, ids and amounts, in time order."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from consumer.history.csv_source import History, read_history
from consumer.history.replay import (
    CHUNK,
    ROOM_BYTES,
    Event,
    Pace,
    Published,
    Replay,
    Room,
    Window,
    events,
    parse_speed,
    tick,
)
from features.decoding import decode
from features.identity import hash64
from features.transaction import DAY_SECONDS, EPOCH_ORDINAL
from tests.consumer.history.csv_files import line, read, text, write
from tests.harness.exports import small_export

JUNE = 15_126 * DAY_SECONDS  # 2011-06-01


class Paper:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes | None, bytes]] = []
        self.flushed = 0

    def send(self, key: bytes | None, value: bytes, partition: int) -> None:
        self.records.append((partition, key, value))

    def flush(self) -> None:
        self.flushed = len(self.records)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return read_history([small_export(tmp_path_factory.mktemp("shop"))])


def replay(writer: Paper, **more: object) -> Replay:
    given = {"partition_of": lambda key: key[-1] % 2, "partitions": 2, "pace": Pace(None, lambda: 0.0, _never)}
    return Replay(writer=writer, **(given | more))  # type: ignore[arg-type]  # some of its own fields


def _never(_seconds: float) -> None:
    raise AssertionError("nobody waits here")


def test_the_stream_reads_the_very_lines_that_a_bootstrap_folds(history: History) -> None:
    ordered = Window().of(history)
    found = list(events(ordered))
    count = range(len(found))
    batch = decode(
        list(count),
        [event.key for event in found],
        [event.value for event in found],
        [0 for _ in count],
        zone=ZoneInfo("UTC"),
        currency="GBP",
        today=20_000,
    )
    wanted = ordered.lines()
    assert (batch.refused, batch.guests) == ((), ())
    assert [batch.customers[i] for i in batch.lines.owner] == ordered.customer_ids()
    for name in ("order", "day", "amount", "units", "event_id"):
        assert np.array_equal(getattr(batch.lines, name), getattr(wanted, name)), name
    assert np.array_equal(batch.time, ordered.time)
    assert batch.of_history.all()


def test_a_return_is_published_with_the_order_that_it_names_and_read_as_one_of_it(tmp_path: Path) -> None:
    header = ("InvoiceNo", "InvoiceDate", "Quantity", "UnitPrice", "CustomerID", "original_invoice_no")
    sold, back = ("1", "2011-06-01 09:00:00", "3"), ("C2", "2011-06-03 09:00:00", "-1")
    rows = [(*sold, "2.5", "7", "9"), (*back, "2.5", "7", "1"), (*back, "2.5", "7", "")]
    history = read_history([write(tmp_path / "a.csv", text(rows, header))])
    found = list(events(history))
    assert [json.loads(event.value).get("original_invoice_no") for event in found] == [None, "1", None]
    values = [event.value for event in found]
    batch = decode([0, 1, 2], [b"7"] * 3, values, [0] * 3, zone=ZoneInfo("UTC"), currency="GBP", today=20_000)
    assert batch.lines.order.tolist() == history.order.tolist() == [hash64(n) for n in ("1", "1", "C2")]


def test_ids_do_not_depend_on_what_is_published(tmp_path: Path) -> None:
    """Equal lines of one order are numbered in the whole file, also where only the later ones go out."""
    equal = line(InvoiceDate="2011-06-01 09:00:00")
    whole = read(tmp_path, line(InvoiceDate="2011-05-31 09:00:00"), equal, equal)
    ids = [json.loads(event.value)["event_id"] for event in events(Window(start=JUNE).of(whole))]
    assert ids == whole.event_ids()[1:]
    assert len(set(ids)) == 2


def test_a_window_takes_its_first_moment_and_not_its_last(history: History) -> None:
    chosen = Window(JUNE, JUNE + DAY_SECONDS).of(history)
    times = [time for time in sorted(history.time.tolist()) if JUNE <= time < JUNE + DAY_SECONDS]
    assert chosen.time.tolist() == times
    assert times


def test_lines_go_out_in_time_order_and_lines_of_one_second_in_the_files_order(tmp_path: Path) -> None:
    rows = [
        line(InvoiceNo="3", InvoiceDate="2011-06-03 09:00:00"),
        line(InvoiceNo="1", InvoiceDate="2011-06-01 09:00:00"),
        line(InvoiceNo="2", InvoiceDate="2011-06-01 09:00:00"),
    ]
    found = events(Window().of(read(tmp_path, *rows)))
    assert [json.loads(event.value)["invoice_no"] for event in found] == ["1", "2", "3"]


def test_a_files_own_event_ids_go_along_and_an_empty_one_is_left_out(tmp_path: Path) -> None:
    header = ("InvoiceNo", "InvoiceDate", "Quantity", "UnitPrice", "CustomerID", "event_id")
    rows = [("1", "2011-06-01 09:00:00", "1", "2.5", "7", "till-9"), ("2", "2011-06-01 09:00:00", "1", "2.5", "7", "")]
    own = read_history([write(tmp_path / "own.csv", text(rows, header))])
    values = [json.loads(event.value) for event in events(own)]
    assert [value.get("event_id") for value in values] == ["till-9", None]


def test_a_price_has_its_shortest_decimal_text(tmp_path: Path) -> None:
    found = events(read(tmp_path, line(UnitPrice="0.1"), line(UnitPrice="2.5500"), line(UnitPrice="0.0003")))
    assert [event.value.split(b'"unit_price":')[1].split(b",")[0] for event in found] == [b"0.1", b"2.55", b"0.0003"]


def test_every_partition_gets_the_closing_tick_behind_its_events(history: History) -> None:
    paper = Paper()
    one = replay(paper)
    one.publish(events(history), len(history), lambda _done, _of: None)
    one.tick(15_136)
    assert [(p, k, json.loads(v)) for p, k, v in paper.records[-2:]] == [
        (0, None, {"type": "tick", "at": "2011-06-11T00:00:00"}),
        (1, None, {"type": "tick", "at": "2011-06-11T00:00:00"}),
    ]
    assert one.published.total == len(history) + 2
    assert paper.flushed == len(paper.records)


def test_a_tick_is_midnight_of_its_day() -> None:
    from datetime import date

    day = date(2012, 2, 29).toordinal() - EPOCH_ORDINAL
    assert json.loads(tick(day)) == {"type": "tick", "at": "2012-02-29T00:00:00"}


def test_told_to_stop_it_ends_between_events_and_flushes(history: History) -> None:
    paper = Paper()
    replay(paper, stopping=lambda: len(paper.records) >= 7).publish(events(history), 0, lambda _done, _of: None)
    assert len(paper.records) == paper.flushed == 7


def test_progress_is_told_a_chunk_at_a_time() -> None:
    stream = [Event(b"1", b"{}", 0)] * (CHUNK + 1)
    told: list[int] = []
    replay(Paper()).publish(stream, len(stream), lambda done, _of: told.append(done))
    assert told == [CHUNK, CHUNK + 1]


def test_at_a_pace_event_time_runs_so_many_times_faster_than_the_clock() -> None:
    clock = [100.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    pace = Pace(60.0, lambda: clock[0], sleep)
    for event_time in (0, 30, 90, 90):
        pace.wait(event_time)
    assert waits == [0.5, 1.0]


@pytest.mark.parametrize(("text_", "factor"), [("max", None), ("1x", 1.0), ("3600x", 3600.0), ("0.5x", 0.5)])
def test_a_speed_is_max_or_a_factor(text_: str, factor: float | None) -> None:
    assert parse_speed(text_) == factor


@pytest.mark.parametrize("text_", ["", "x", "fast", "0x", "-1x", "10", "infx", "nanx"])
def test_any_other_speed_is_refused(text_: str) -> None:
    with pytest.raises(ValueError, match="--speed"):
        parse_speed(text_)


def test_what_a_partition_has_not_read_never_exceeds_what_the_embedded_broker_keeps_safely() -> None:
    """A reader that falls behind: the writer waits until it has caught up."""
    published, read_so_far, waited = Published(), {0: 0, 1: 0}, []
    size = ROOM_BYTES // 2 + 1
    for _ in range(2):
        published.add(0, size)
    published.add(1, size)

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        read_so_far[0] += 1

    Room(lambda: read_so_far, published, sleep, lambda: 0.0).wait()
    assert len(waited) == 1
    assert published.unread(0, read_so_far[0]) == size


def test_where_nobody_reads_it_says_so_instead_of_waiting_for_ever() -> None:
    published, clock = Published(), [0.0]
    published.add(0, 2 * ROOM_BYTES)

    def sleep(_seconds: float) -> None:
        clock[0] += 50.0

    with pytest.raises(TimeoutError, match="is a worker running"):
        Room(lambda: {0: 0}, published, sleep, lambda: clock[0]).wait()


def test_guests_and_worthless_lines_are_published_for_the_stream_to_count(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    rows = ["A1,X,1,2011-01-01 10:00,2.5,7", "A2,X,1,2011-01-01 11:00,2.5,", "A3,X,1,2011-01-01 12:00,0,7"]
    file.write_text("InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID\n" + "\n".join(rows) + "\n", "utf-8")
    everything = read_history([file], everything=True)
    assert everything.kept.tolist() == [True, False, False]
    assert len(read_history([file])) == 1
    found = list(events(everything))
    assert [event.key for event in found] == [b"7", None, b"7"]
    batch = decode(
        range(3),
        [event.key for event in found],
        [event.value for event in found],
        [0] * 3,
        zone=ZoneInfo("UTC"),
        currency="GBP",
        today=20_000,
    )
    assert (len(batch.lines), batch.guests, [(r.offset, r.reason) for r in batch.refused]) == (1, (1,), [(2, "price")])
