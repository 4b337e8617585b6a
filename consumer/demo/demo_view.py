"""What the demo shows while it runs, in 80 columns: the day, the rate, the segments as bars, the last moves.

Scene   the figures, set by the demo, the recorder and the replay
Live    redraws it on a terminal; elsewhere a plain line comes every few seconds
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumer.messages import SegmentRecord

WIDTH = 80
BAR = 34
LINE_EVERY_S = 5.0
CAUSES = ("purchase", "return", "late", "silence", "model")
MEANING = {
    "purchase": "bought",
    "return": "brought back",
    "late": "bought, heard late",
    "silence": "did nothing",
    "model": "clusters moved",
}
COLOURS = {"purchase": "green", "return": "yellow", "late": "cyan", "silence": "magenta", "model": "blue"}


@dataclass(slots=True)
class Scene:
    """The figures of one moment."""

    title: str
    day: str = ""
    applied: int = 0
    of: int = 0
    rate: float = 0.0
    days_swept: int = 0
    model_version: int = 0
    customers: dict[str, SegmentRecord] = field(default_factory=dict)
    causes: Counter[str] = field(default_factory=Counter)
    last: dict[str, SegmentRecord] = field(default_factory=dict)
    """The newest move a cause."""
    samples: list[tuple[float, int]] = field(default_factory=list)

    def publish(self, record: SegmentRecord) -> None:
        """Take an output record in."""
        self.customers[record.customer_id] = record
        self.causes[record.cause] += 1
        if record.previous is not None:
            self.last[record.cause] = record

    def progress(self, applied: int, now: float, over_s: float = 5.0) -> None:
        """Take note of how many events were applied by now; the rate is that of the last seconds."""
        self.applied = min(applied, self.of) if self.of else applied
        self.samples = [(at, n) for at, n in self.samples if now - at <= over_s] + [(now, applied)]
        (began, before), (ended, after) = self.samples[0], self.samples[-1]
        self.rate = (after - before) / (ended - began) if ended > began else 0.0

    def segments(self) -> list[tuple[int, str, int]]:
        """Return (id, name, customers), best segments first, the fixed ones last."""
        found = Counter((r.segment.id, r.segment.name) for r in list(self.customers.values()))
        return sorted(((number, name, n) for (number, name), n in found.items()), key=lambda row: (row[0] < 11, row[0]))


def drawn(scene: Scene) -> RenderableType:
    """Return the scene as it stands on a terminal."""
    return Group(_head(scene), Text(), _bars(scene), Text(), _moves(scene))


def line(scene: Scene) -> str:
    """Return the scene in a line."""
    causes = ", ".join(f"{cause} {scene.causes[cause]:,}" for cause in CAUSES if scene.causes[cause])
    share = scene.applied / scene.of if scene.of else 0.0
    return f"{scene.day}  {share:4.0%}  {scene.rate:,.0f} events/s  moves: {causes or 'none yet'}"


def _head(scene: Scene) -> Text:
    share = min(scene.applied / scene.of, 1.0) if scene.of else 0.0
    text = Text(no_wrap=True)
    text.append(f"{scene.day or '...':<12}", style="bold")
    text.append_text(_bar(share, 24, "green"))
    text.append(f" {share:4.0%}")
    text.append(f"{scene.applied:>12,} events {scene.rate:>9,.0f}/s", style="dim")
    return text


def _bars(scene: Scene) -> Table:
    table = Table.grid(padding=(0, 1))
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    rows = scene.segments()
    most = max((n for _, _, n in rows), default=1)
    for number, name, n in rows:
        style = "cyan" if number >= 11 else "dim"
        table.add_row(f"{name:<18}", f"{n:,}", _bar(n / most, BAR + 16, style, empty=" "))
    return table


def _moves(scene: Scene) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, min_width=max(map(len, CAUSES)))
    table.add_column(no_wrap=True, min_width=max(map(len, MEANING.values())))
    table.add_column(no_wrap=True, min_width=7, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_row(*(Text(name, style="dim") for name in ("moved by", "", "moves", "  the last one")))
    for cause in CAUSES:
        record = scene.last.get(cause)
        if record is None or record.previous is None:
            continue
        move = f"  {record.customer_id}: {record.previous.name} -> {record.segment.name}"
        table.add_row(Text(cause, style=COLOURS[cause]), MEANING[cause], f"{scene.causes[cause]:,}", move)
    return table


def _bar(share: float, width: int, style: str, empty: str = "·") -> Text:
    full = round(share * width)
    return Text("█" * full, style=style) + Text(empty * (width - full), style="dim")


class View:
    """Shows a scene from `with` to its end."""

    def __init__(self, console: Console, scene: Scene, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._scene, self._now = console, scene, now
        self._next = 0.0
        self._live = (
            Live(get_renderable=lambda: drawn(scene), console=console, refresh_per_second=5)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, at)
        else:
            self._console.print(line(self._scene), markup=False)

    def refresh(self) -> None:
        """Say where it stands, where nothing redraws by itself."""
        if self._live is None and self._now() >= self._next:
            self._next = self._now() + LINE_EVERY_S
            self._console.print(line(self._scene), markup=False)


@contextmanager
def step(console: Console, text: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    began = time.monotonic()
    if console.is_terminal:
        with console.status(f"{text} ..."):
            yield
    else:
        console.print(f"{text} ...", markup=False)
        yield
    console.print(f"[green]done[/green] {text} [dim]({time.monotonic() - began:.1f} s)[/dim]")
