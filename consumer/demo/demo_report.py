"""How the demo ends: verification, quality, demo.json, and what to look at next."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from consumer.commands.cli_output import in_per_cent
from consumer.commands.place import DEFAULT_DIRECTORY, Place
from consumer.commands.population import open_namespace, population, segment_profiles
from consumer.demo.demo_view import Scene, step
from consumer.history.bootstrap import Prepared
from consumer.history.csv_source import History
from consumer.history.history_files import HistoryFiles
from consumer.history.profile import Profile
from consumer.partition import DayEntry, iso


@dataclass(frozen=True, slots=True)
class Demo:
    """What happened. cutoff, closing: days since 1970-01-01; events, ticks: published records."""

    place: Place
    files: HistoryFiles
    history: History
    past: History
    prepared: Prepared
    cutoff: int
    closing: int
    events: int
    ticks: int
    scene: Scene


class Lines(msgspec.Struct, frozen=True):
    """What became of the records that went in."""

    read: int
    applied: int
    repeated: int
    refused: dict[str, int]
    guests: int
    ticks: int
    erasures: int

    @property
    def adds_up(self) -> bool:
        """Whether every record has exactly one fate."""
        fates = self.applied + self.repeated + sum(self.refused.values()) + self.guests + self.ticks + self.erasures
        return self.read == fates


class Result(msgspec.Struct, frozen=True):
    """demo.json. days as ISO dates; seconds by step; causes: moves by what caused them."""

    dataset: list[str]
    cutoff: str
    closing_day: str
    customers: int
    events: int
    lines: Lines
    refused: dict[str, int]
    causes: dict[str, int]
    days_swept: int
    verify: dict[str, Any]
    quality: dict[str, Any]
    segments: tuple[Profile, ...]
    seconds: dict[str, float]

    @property
    def differences(self) -> int:
        """How much verification found."""
        return sum(int(self.verify[name]) for name in ("state_differences", "output_differences", "revision_errors"))

    @property
    def good(self) -> bool:
        """Whether nothing differs and every record is accounted for."""
        return not self.differences and self.lines.adds_up and self.lines.read == self.events + self.lines.ticks


class Stopwatch:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.began = time.monotonic()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)

    def all(self) -> dict[str, float]:
        """Return the seconds by step, and in all."""
        return self.seconds | {"all": round(time.monotonic() - self.began, 2)}


def finish(demo: Demo, clock: Stopwatch, console: Console) -> Result:
    """Verify, measure and put the report together; the store still runs."""
    from consumer.commands.cli_model import measure
    from consumer.commands.cli_verify import judged

    with clock("verify"), step(console, "Recomputing every customer and every record independently"):
        verdict = judged(demo.place, demo.files).report()
    found = open_namespace(demo.place)
    everybody = population(found)
    with clock("quality"), step(console, "Comparing the clusters with 20 batch fits"):
        quality = measure(everybody, found.bundle)
    counters: Counter[str] = Counter()
    for state in found.states.values():
        counters.update(state.counters)
    refused = {name.removeprefix("refused."): n for name, n in counters.items() if name.startswith("refused.")}
    days = {msgspec.json.decode(entry, type=DayEntry).day for entry in found.store.day_log(0)}
    return Result(
        dataset=[Path(file).name for file in demo.history.files],
        cutoff=iso(demo.cutoff),
        closing_day=iso(demo.closing),
        customers=len(everybody.ids),
        events=demo.events,
        lines=Lines(
            counters["lines"],
            counters["applied"],
            counters["repeated"],
            refused,
            counters["guests"],
            counters["ticks"],
            counters["erasures"],
        ),
        refused=refused,
        causes={name.removeprefix("moves."): n for name, n in sorted(counters.items()) if name.startswith("moves.")},
        days_swept=len(days),
        verify=verdict,
        quality=quality,
        segments=segment_profiles(found, everybody),
        seconds=clock.all(),
    )


def show(result: Result, demo: Demo, report: Path, console: Console) -> None:
    """Print the verdict, the quality, and commands that work on what was kept, the dashboard's last."""
    console.print()
    console.print(_segments(result))
    console.print()
    records = int(result.verify.get("records", 0))
    if result.good:
        console.print(
            f"[green]verified[/green]  0 differences: {result.verify['customers']:,} customers and "
            f"{records:,} records recomputed apart"
        )
    else:
        console.print(
            f"[red]DIFFERS[/red]   {result.differences:,} differences; counts add up: {result.lines.adds_up}; {report}"
        )
    quality = result.quality
    console.print(
        f"[green]quality[/green]   inertia {quality['inertia_ratio']:.4f} x the best of 20 batch fits, "
        f"ARI {quality['ari']:.2f}, silhouette {quality['silhouette']:.2f}"
    )
    seconds = result.seconds
    console.print(
        f"[green]time[/green]      {seconds['all']:.0f} s; {result.events:,} events in {seconds['stream']:.0f} s, "
        f"{result.days_swept} days swept; all figures in {report}"
    )
    console.print("\nNext, on what was kept:")
    for command in next_commands(demo):
        console.print(f"  {command}", markup=False, style="bold")


def next_commands(demo: Demo) -> list[str]:
    """Return commands that work from here: a customer whom silence has moved, the model, the standing, the pages."""
    directory = demo.place.directory
    where = "--embedded" if directory == DEFAULT_DIRECTORY else f"--embedded --directory {directory}"
    silent = demo.scene.last.get("silence")
    customer = silent.customer_id if silent is not None else next(iter(demo.scene.customers))
    program = _program()
    return [
        f"{program} lookup {customer} {where}",
        f"{program} model show --quality {where}",
        f"{program} status {where}",
        f"{program} dashboard {where}",
    ]


def _program() -> str:
    """Return how the reader can call us: by name where the PATH knows it, else as this process was called."""
    called = Path(sys.argv[0])
    if called.name != "segmenter" or shutil.which("segmenter") == str(called.resolve()):
        return "segmenter"
    return os.path.relpath(called)


def _segments(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("segment", "customers", "share", "revenue", "days ago", "orders", "net"):
        table.add_column(name, justify="left" if name == "segment" else "right", no_wrap=True)
    for s in result.segments:
        typical = ["" if v is None else f"{v:,.0f}" for v in (s.recency, s.frequency, s.monetary)]
        table.add_row(
            s.name, f"{s.customers:,}", f"{s.share_of_customers:.1%}", in_per_cent(s.share_of_revenue), *typical
        )
    return table
