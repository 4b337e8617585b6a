"""The demo on a small shop, as `make demo` calls it: what it writes, what it keeps, and what it says to do next."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from consumer.demo.demo import cut_day, what_went_out
from consumer.demo.demo_view import CAUSES, WIDTH, Scene, View, drawn, line
from consumer.history.csv_source import read_history
from consumer.messages import SegmentRecord
from consumer.partition import iso
from consumer.transport.child import free_port
from models.bundle import Segment
from tests.consumer.history.csv_files import line as row
from tests.consumer.history.csv_files import read
from tests.harness.commands import Shell
from tests.harness.exports import small_export
from tests.harness.live import wait_until
from tests.harness.pages import answers


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, Any, str]:
    """A folder in which the demo has run, its report, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    small_export(folder / "Dataset")
    # Addresses of a shop's own servers, which the demo must not look at.
    shell = Shell(folder, {"SEGMENTER_KAFKA_BOOTSTRAP": "192.0.2.1:9092", "SEGMENTER_HORIZON_DAYS": "9"})
    done = shell("demo", timeout=240)
    assert done.code == 0, done.out + done.err
    return shell, json.loads((folder / "demo.json").read_text()), done.out


def stream_lines(path: Path, first: str) -> dict[str, int]:
    """Count the lines from a day on by their fate, by reading the file plainly."""
    with gzip.open(path, "rt", newline="") as file:
        rows = [row for row in csv.DictReader(io.StringIO(file.read())) if row["InvoiceDate"] >= first]
    guests = sum(row["CustomerID"] == "" for row in rows)
    return {"read": len(rows), "guests": guests, "applied": len(rows) - guests}


class TestReport:
    def test_every_line_has_one_fate(self, demo: tuple[Shell, Any, str]) -> None:
        shell, report, _ = demo
        lines = report["lines"]
        fates = [lines[name] for name in ("applied", "repeated", "guests", "ticks", "erasures")]
        assert lines["read"] == sum(fates) + sum(lines["refused"].values())
        expected = stream_lines(shell.folder / "Dataset" / "shop.csv.gz", report["cutoff"])
        assert {name: lines[name] for name in expected} == expected | {"read": expected["read"] + lines["ticks"]}
        assert (report["events"], lines["ticks"]) == (expected["read"], 4)

    def test_verification_and_quality_are_in_it(self, demo: tuple[Shell, Any, str]) -> None:
        _, report, _ = demo
        found = report["verify"]
        assert [found[name] for name in ("state_differences", "output_differences", "revision_errors")] == [0, 0, 0]
        assert found["customers"] == report["customers"]
        assert {"inertia_ratio", "ari", "silhouette", "k"} <= report["quality"].keys()

    def test_days_follow_the_events_up_to_the_day_after_the_last_line(self, demo: tuple[Shell, Any, str]) -> None:
        _, report, _ = demo
        assert (report["cutoff"], report["closing_day"]) == ("2011-05-01", "2011-06-11")
        swept = date(2011, 6, 11).toordinal() - date(2011, 4, 30).toordinal() + 1
        assert report["days_swept"] == swept
        assert report["causes"]["bootstrap"] > 0
        assert report["causes"]["purchase"] > 0
        assert report["causes"]["silence"] > 0

    def test_the_segments_share_customers_and_revenue_out(self, demo: tuple[Shell, Any, str]) -> None:
        _, report, _ = demo
        segments = report["segments"]
        assert sum(segment["customers"] for segment in segments) == report["customers"]
        assert sum(segment["share_of_revenue"] or 0 for segment in segments) == pytest.approx(1, abs=1e-3)
        assert len({segment["name"] for segment in segments}) == len(segments)

    def test_each_step_has_its_seconds(self, demo: tuple[Shell, Any, str]) -> None:
        seconds = demo[1]["seconds"]
        assert set(seconds) == {"bootstrap", "stream", "verify", "quality", "all"}
        assert seconds["all"] >= max(seconds[name] for name in ("bootstrap", "stream", "verify", "quality"))


class TestAfterwards:
    def test_the_next_commands_work_and_the_last_opens_the_dashboard(self, demo: tuple[Shell, Any, str]) -> None:
        shell, report, printed = demo
        commands = [text.strip() for text in printed.splitlines() if text.startswith("  segmenter ")]
        assert len(commands) == 4
        *commands, pages = commands
        port = free_port()
        with shell.running(f"{pages.removeprefix('segmenter ')} --port {port}") as server:
            wait_until(lambda: answers(port), "a dashboard on what was kept")
            found = [shell(command.removeprefix("segmenter ")) for command in commands]  # beside it
        assert server.returncode == 0
        assert [done.code for done in found] == [0, 0, 0], [done.err for done in found]
        known = commands[0].split()[2]
        assert found[0].out.startswith(known)
        assert report["closing_day"] in found[0].out

    def test_verify_finds_the_same_again_from_what_was_recorded(self, demo: tuple[Shell, Any, str]) -> None:
        shell, report, _ = demo
        done = shell("verify --embedded --json")
        assert (done.code, done.json["records"]) == (0, report["verify"]["records"])

    def test_a_worker_goes_on_with_the_kept_state_on_a_new_broker(self, demo: tuple[Shell, Any, str]) -> None:
        shell, report, _ = demo
        with shell.running("run --embedded"):
            before = shell.until_caught_up("--embedded")
            replayed = shell("replay --embedded --from 2011-06-09 --json")
            assert replayed.code == 0, replayed.err
            after = shell.until_caught_up("--embedded")
        guests = after["counters"]["guests"] - before["counters"]["guests"]
        assert after["counters"]["repeated"] == replayed.json["events"] - guests > 0
        assert after["counters"]["applied"] == before["counters"]["applied"] == report["lines"]["applied"]
        said = shell("verify --embedded")
        assert (said.code, "outlived the broker" in said.err) == (2, True)

    def test_nothing_is_left_running(self, demo: tuple[Shell, Any, str]) -> None:
        shell, _, _ = demo
        assert not (shell.folder / ".segmenter" / "demo" / "live.json").exists()
        assert shell("status --embedded --json").json["lag"] is None


class TestWhatWentOut:
    def test_each_rule_that_took_lines_is_named_with_how_many_and_the_first_unreadable_with_its_row(
        self, tmp_path: Path
    ) -> None:
        rows = [row(), row(CustomerID=""), row(UnitPrice="free"), row(InvoiceDate="soon"), row(Quantity="0")]
        said = what_went_out(read(tmp_path, *rows).funnel)
        assert said.startswith("lines read: 5; left out: 2 unreadable, 1 guest (no customer), 1 zero quantity; ")
        assert said.endswith(" row 4, the price cannot be read")

    def test_nothing_left_out_is_said(self, tmp_path: Path) -> None:
        assert what_went_out(read(tmp_path, row()).funnel) == "lines read: 1; left out: none"


class TestCut:
    def test_the_real_file_is_cut_at_june(self, real_dataset: Path | None) -> None:
        if real_dataset is not None:
            assert iso(cut_day(read_history([real_dataset]))) == "2011-06-01"

    def test_the_first_of_a_month_near_the_wanted_share(self, tmp_path: Path) -> None:
        rows = [row(InvoiceDate=f"{day} 09:00:00") for day in ("2010-12-01", "2011-12-09")]
        assert iso(cut_day(read(tmp_path, *rows))) == "2011-06-01"

    def test_a_short_history_is_cut_at_the_share_itself(self, tmp_path: Path) -> None:
        rows = [row(InvoiceDate=f"2011-06-{day:02d} 09:00:00") for day in range(10, 30)]
        assert iso(cut_day(read(tmp_path, *rows))) == "2011-06-19"

    def test_two_days_are_one_of_history_and_one_to_come(self, tmp_path: Path) -> None:
        rows = [row(InvoiceDate=f"2011-06-{day} 09:00:00") for day in (10, 11)]
        assert iso(cut_day(read(tmp_path, *rows))) == "2011-06-11"


def moved(customer: str, cause: str, old: str | None, new: str) -> SegmentRecord:
    ids = {"Champions": 11, "Previously loyal": 14, "No net purchases": 2, "Lapsed": 1}
    return SegmentRecord(
        customer_id=customer,
        segment=Segment(ids[new], new),
        previous=Segment(ids[old], old) if old else None,
        cause=cause,  # type: ignore[arg-type]  # one of the causes
        revision=1,
        as_of="2011-06-01",
        entered_on="2011-06-01",
        margin=None,
        second=None,
        held=False,
        features={},
        model_version=1,
    )


def busy_scene() -> Scene:
    """A scene whose names and figures are as long as they get."""
    scene = Scene("", day="2011-06-01", of=12_345_678)
    for i in range(3_000):
        scene.publish(moved(f"c{i}", "bootstrap", None, ("Champions", "Lapsed", "No net purchases")[i % 3]))
    for cause in CAUSES:
        scene.publish(moved("customer-with-a-long-id-4711", cause, "No net purchases", "Previously loyal"))
    scene.progress(0, 0.0)
    scene.progress(11_345_678, 4.0)
    return scene


def printed(scene: Scene, *, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=WIDTH, force_terminal=terminal, color_system=None)
    console.print(drawn(scene) if terminal else line(scene))
    return out.getvalue()


class TestView:
    def test_it_fits_into_80_columns(self) -> None:
        assert max(len(text) for text in printed(busy_scene(), terminal=True).splitlines()) <= WIDTH

    def test_it_shows_the_day_the_rate_each_segment_and_each_cause(self) -> None:
        shown = printed(busy_scene(), terminal=True)
        for words in ("2011-06-01", "2,836,420/s", "Champions", "Lapsed", "Previously loyal", *CAUSES):
            assert words in shown

    def test_clusters_come_first_and_the_fixed_segments_last(self) -> None:
        assert [number for number, _, _ in busy_scene().segments()] == [11, 14, 1, 2]

    def test_the_rate_is_that_of_the_last_seconds(self) -> None:
        scene = Scene("", of=10_000)
        for second in range(20):
            scene.progress(100 * min(second, 10), float(second))
        assert scene.rate == 0.0

    def test_a_customer_counts_where_he_is_now(self) -> None:
        scene = Scene("")
        scene.publish(moved("a", "bootstrap", None, "Champions"))
        scene.publish(moved("a", "silence", "Champions", "Lapsed"))
        assert scene.segments() == [(1, "Lapsed", 1)]
        assert list(scene.last) == ["silence"]

    def test_without_a_terminal_there_are_plain_lines(self) -> None:
        out = io.StringIO()
        hands = iter(range(100))
        scene = busy_scene()
        with View(Console(file=out, width=200), scene, now=lambda: float(next(hands))) as view:
            for _ in range(20):
                view.refresh()
        lines = out.getvalue().splitlines()
        assert 4 <= len(lines) <= 8
        assert all("events/s" in text and "\x1b" not in text for text in lines)
