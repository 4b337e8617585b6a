r"""A history cut in two: the part before the cut loaded as a bootstrap does, the rest sent as a stream.

    rows ---- cut ----> history.csv --read, prepare--> states --+
       \--> events as `replay` sends them, shuffled, with some of the history's again --> applied --> ledgers
    all rows, read and folded at once ---------------------------------------------------------------> ledgers

Nothing is hand-made between: files are read, folded, replayed, decoded and applied by the service's own code; what the
ledgers must be is added up a second time by a plain loop over the rows.
"""

from __future__ import annotations

import csv
import gzip
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from consumer.history.bootstrap import Prepared, fold_files, prepare
from consumer.history.csv_columns import CsvOptions
from consumer.history.csv_source import History, read_history
from consumer.history.replay import Event, events
from consumer.partition import History as HistoryRules
from consumer.partition import Rules
from features.codec import Seen, States, blank_heads, decode_states, encode_states
from features.identity import hash64
from features.ledger import expire
from features.transaction import DAY_SECONDS
from models.selection import Terms
from reports import verify_events, verify_history, verify_input
from reports.verify import verify
from tests.harness.pure_run import PureRun

DAY = DAY_SECONDS
_SLASHED = re.compile(r"(\d+)/(\d+)/(\d+) (\d+):(\d+)")


class FileRow(NamedTuple):
    """A row as the file has it, but for its date, which is written so that every part of the file says the same."""

    invoice: str
    stock: str
    description: str
    quantity: str
    moment: str
    price: str
    customer: str
    country: str


@dataclass(frozen=True)
class Source:
    """A file's rows in the order of their time; rows of one moment keep the file's order."""

    header: Sequence[str]
    rows: Sequence[FileRow]

    @classmethod
    def of(cls, path: Path) -> Source:
        """Read an export with the columns of UCI Online Retail; rows without a date have no place in its order."""
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            table = csv.reader(file)
            header = next(table)
            rows = [
                FileRow._make([*cells[:4], _iso(cells[4]), *cells[5:]])
                for cells in table
                if _SLASHED.fullmatch(cells[4])
            ]
        return cls(header, sorted(rows, key=lambda row: row.moment))

    @cached_property
    def of_customers(self) -> dict[str, list[int]]:
        """Customer -> places of his rows; guests stand under ""."""
        found = defaultdict[str, list[int]](list)
        for place, row in enumerate(self.rows):
            found[row.customer].append(place)
        return found

    def write(self, path: Path, rows: Iterable[FileRow]) -> Path:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(self.header)
            table.writerows(rows)
        return path


@lru_cache(maxsize=1 << 16)
def _iso(text: str) -> str:
    match = _SLASHED.fullmatch(text)
    assert match, text
    month, day, year, hour, minute = map(int, match.groups())
    return f"{year}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:00"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where and how a history is cut; everything follows from the seed.

    rows: those that take part; history: how many of them lie before the cut; again: places of history rows that the
    stream brings once more; order: in which the stream brings places of `rows`; ahead_days: the setting.
    """

    seed: int
    rows: Sequence[FileRow]
    history: int
    overlap: float
    again: Sequence[int]
    order: Sequence[int]
    shuffle: str
    ahead_days: int

    @property
    def inside_order(self) -> bool:
        return self.rows[self.history - 1].invoice == self.rows[self.history].invoice

    @property
    def inside_second(self) -> bool:
        return self.rows[self.history - 1].moment == self.rows[self.history].moment


def cut(source: Source, seed: int, customers: int | None) -> Cut:
    """Cut a source somewhere; customers: how many take part besides those around the cut, None: all."""
    rng = random.Random(seed)
    while (
        True
    ):  # the day after the first to the day before the last; between two rows of customers, mostly of one order
        place = rng.randrange(len(source.rows) // 100, len(source.rows) * 99 // 100)
        before, after = source.rows[place - 1], source.rows[place]
        if before.customer and after.customer and (before.invoice == after.invoice or rng.random() < 0.2):
            break
    chosen = range(len(source.rows)) if customers is None else _around(source, place, customers, rng)
    rows = [source.rows[at] for at in chosen]
    history = sum(at < place for at in chosen)
    overlap = rng.random() * 0.3
    again = _again(rows[:history], overlap, rng)
    shuffle = ("sorted", "near", "far")[seed % 3]
    order = _shuffled(rows, history, again, shuffle, rng)
    # A few customers may be silent for longer than the shop ever is: their next event is then no error of a date.
    usual = customers is None and shuffle != "far"
    return Cut(seed, rows, history, overlap, again, order, shuffle, 31 if usual else 400)


def _around(source: Source, place: int, customers: int, rng: random.Random) -> list[int]:
    """Return the places of the rows of those who bought around a place, of some others, and of a few guests."""
    near = {source.rows[at].customer for at in range(max(place - 60, 0), min(place + 60, len(source.rows)))}
    others = rng.sample(sorted(source.of_customers.keys() - {""}), customers)
    found = [at for who in (near - {""}) | {*others} for at in source.of_customers[who]]
    guests = source.of_customers[""]
    return sorted(found + rng.sample(guests, min(50, len(guests))))


def _again(history: Sequence[FileRow], share: float, rng: random.Random) -> list[int]:
    """Return the places of history rows that come again: the newest, or any at all."""
    count = int(len(history) * share)
    if rng.random() < 0.5:
        return list(range(len(history) - count, len(history)))
    return sorted(rng.sample(range(len(history)), count))


def _shuffled(
    rows: Sequence[FileRow], history: int, again: Sequence[int], shuffle: str, rng: random.Random
) -> list[int]:
    """Return the order of arrival.

    near: each up to three days early or late. far: in any order, but first the rows of the history's last moment,
    which after the dedupe horizon could not be told from the history's own (PROTOCOL H3).
    """
    sent = [*again, *range(history, len(rows))]
    if shuffle == "sorted":
        return sorted(sent)
    if shuffle == "near":
        return sorted(sent, key=lambda at: _seconds(rows[at]) + rng.uniform(-3, 3) * DAY)
    last = rows[history - 1].moment
    return sorted(sent, key=lambda at: (at < history or rows[at].moment > last, rng.random()))


def _seconds(row: FileRow) -> float:
    return float(np.datetime64(row.moment.replace(" ", "T"), "s").astype(np.int64))


@dataclass
class Handoff:
    """A cut carried out, up to what there is to compare; the last four fields plant a fault in the service.

    until: the stream's last moment, None: all of it. leave_out: a row that the bootstrap does not read;
    forget: one whose event id it does not remember; skip: an event that is never read; double: one that counts twice.
    """

    source: Source
    cut: Cut
    directory: Path
    until: float | None = None
    leave_out: int | None = None
    forget: int | None = None
    skip: int | None = None
    double: int | None = None

    @property
    def rules(self) -> Rules:
        return Rules(clock="event", ahead_days=self.cut.ahead_days)

    @cached_property
    def _published(self) -> History:
        return read_history([self._whole], CsvOptions(currency="GBP"), everything=True)

    @cached_property
    def events(self) -> dict[int, Event]:
        """Place -> event, as `replay` sends it; rows that nobody would publish are left out."""
        return dict(zip((self._published.row - 2).tolist(), events(self._published), strict=True))

    @cached_property
    def kept(self) -> list[int]:
        """Places of the rows that count, in order."""
        return sorted((self._published.row[self._published.kept] - 2).tolist())

    @property
    def sent(self) -> Iterator[int]:
        """Places of the events that the stream brings, in the order of their arrival."""
        if self.forget is not None and self.forget not in self.cut.order:
            yield self.forget
        for place in self.cut.order:
            late = self.until is not None and place in self.events and self.events[place].time > self.until
            if place in self.events and place != self.leave_out and not late:
                yield place

    def id_of(self, place: int) -> str:
        found: str = msgspec.json.decode(self.events[place].value)["event_id"]
        return found

    @cached_property
    def _whole(self) -> Path:
        return self.source.write(self.directory / "whole.csv", self.cut.rows)

    @cached_property
    def _history(self) -> Path:
        return self.source.write(self.directory / "history.csv", self.cut.rows[: self.cut.history])

    # By hand-off -------------------------------------------------------------------------------------------

    @cached_property
    def run(self) -> PureRun:
        """The history loaded, the stream applied, every day swept."""
        run = self._bootstrapped(self._loaded())
        hidden: dict[tuple[int, int], bytes] = {}
        for place in self.sent:
            event = self.events[place]
            partition = run.home((event.key or event.value).decode())
            at = len(run.parts[partition].log)
            if place == self.skip:
                hidden[partition, at] = event.value
                run.write(partition, event.key, GUEST)
                continue
            run.write(partition, event.key, event.value)
            if place == self.double:
                hidden[partition, at + 1] = GUEST
                other = msgspec.json.decode(event.value) | {"event_id": "h1-another"}
                run.write(partition, event.key, msgspec.json.encode(other))
        run.settle(repeat(max(len(self.cut.order) // 150, 1)))
        for (partition, offset), value in hidden.items():  # what the topic holds, whatever the service saw
            log = run.parts[partition].log
            log[offset] = log[offset]._replace(value=value)
        return run

    def _loaded(self) -> Prepared:
        path = self._history
        if self.leave_out is not None:
            rows = [row for place, row in enumerate(self.cut.rows[: self.cut.history]) if place != self.leave_out]
            path = self.source.write(self.directory / "loaded.csv", rows)
        history = read_history([path], CsvOptions(currency="GBP"))
        return _prepared(history, self.rules)

    def _bootstrapped(self, prepared: Prepared) -> PureRun:
        run = PureRun(rules=self.rules, bundle=prepared.bundle, first=prepared.day, chunk=5_000)
        run.history = HistoryRules(prepared.cutoff, has_ids=False)
        states = prepared.states
        if self.forget is not None:
            keep = states.seen.id != hash64(self.id_of(self.forget))
            seen = Seen(states.seen.owner[keep], states.seen.id[keep], states.seen.day[keep])
            states = replace(states, seen=seen)
        run.load(prepared.customers, states)
        assert prepared.cutoff is not None
        for part in run.parts:
            part.state = msgspec.structs.replace(part.state, watermark=prepared.cutoff)
        return run

    @property
    def ledgers(self) -> dict[str, bytes]:
        """Customer -> the bytes of his ledger, as of the last day."""
        found = {customer: blob for part in self.run.parts for customer, blob in part.states.items()}
        day = max(part.state.day for part in self.run.parts)
        return _bytes(list(found), decode_states(list(found.values())), day - self.rules.horizon_days)

    def verdict(self) -> verify_input.Verdict:
        """Verify the run from the history's file and the topics alone."""
        facts, _, models, partitions = self.run.evidence()
        assert facts.cutoff is not None
        ids_from = facts.cutoff // DAY - facts.dedupe_days
        rows = verify_history.read_history([self._history], verify_history.Reading(), facts.cutoff, ids_from)
        return verify(facts, rows, models, partitions)

    # At once -----------------------------------------------------------------------------------------------

    @property
    def batch(self) -> dict[str, bytes]:
        """What one bootstrap of all the rows makes of them: customer -> the bytes of his ledger."""
        prepared = _prepared(read_history([self._whole], CsvOptions(currency="GBP")), self.rules)
        return _bytes(prepared.customers, prepared.states, prepared.day - self.rules.horizon_days)

    @property
    def added_up(self) -> dict[str, Sums]:
        """The same by a plain loop over the rows: customer -> (order, day) -> (net, units, lines)."""
        rows = verify_history.read_history([self._whole], verify_history.Reading(), None, 1 << 30)
        first = max(rows.time) // DAY - self.rules.horizon_days
        found: dict[str, Sums] = {customer: {} for customer in rows.customer}
        columns = zip(rows.customer, rows.invoice, rows.time, rows.amount, rows.units, strict=True)
        for customer, invoice, time, amount, units in columns:
            if time // DAY >= first:
                key = (verify_events.hash64(invoice), time // DAY)
                net, pieces, lines = found[customer].get(key, (0, 0, 0))
                found[customer][key] = (net + amount, pieces + units, lines + 1)
        return found


Sums = dict[tuple[int, int], tuple[int, int, int]]
GUEST = b'{"customer_id": null}'
"""Stands where the service was made to see something else."""


def _prepared(history: History, rules: Rules) -> Prepared:
    return prepare(
        fold_files(history, rules),
        Terms(
            day=int(history.day.max()),
            features=("recency", "frequency", "monetary"),
            learner="population",
            horizon_days=rules.horizon_days,
            margin=0.95,
            recency_offset=1,
        ),
        k=2,
        progress=lambda *_: None,
    )


def _bytes(customers: Sequence[str], states: States, first: int) -> dict[str, bytes]:
    """Return the customers' ledgers from a day on, without what is not ledger."""
    ledger, _ = expire(states.ledger, first)
    none = np.empty(0, np.int64)
    bare = States(blank_heads(len(customers)), ledger, Seen(none, np.empty(0, np.uint64), none))
    return dict(zip(customers, encode_states(bare, np.arange(len(customers))), strict=True))


def decoded(ledgers: dict[str, bytes]) -> dict[str, Sums]:
    """Return ledgers of `Handoff` in the form of its plain sums."""
    found: dict[str, Sums] = {customer: {} for customer in ledgers}
    ledger, names = decode_states(list(ledgers.values())).ledger, list(ledgers)
    columns = (getattr(ledger, name).tolist() for name in ("owner", "order", "day", "net", "units", "lines"))
    for owner, order, day, net, units, lines in zip(*columns, strict=True):
        found[names[owner]][order, day] = (net, units, lines)
    return found
