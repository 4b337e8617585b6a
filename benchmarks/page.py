"""The page of the benchmarks, written from their document: what was found, on what, and which floors it meets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.floors import Floor, contest, growth, latency, workers
from tests.harness.broker import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results.json"
PAGE = REPOSITORY / "docs" / "benchmarks.md"

Found = Mapping[str, Any]

HEAD = """\
# Benchmarks

Written by `make bench` and `make bench-peers` from [results.json](../benchmarks/results.json); not by hand.

How to read it:

- **Only ratios within one run mean anything.** The machine is small and noisy; another one has other rates.
- Each contestant runs on one core. The broker, the store and the reader share the other one.
- Ours scores a customer once a batch, the peers score him at every event: both rates are given.
- Peers are written as their own documentation would write them, in at most 150 lines, with its defaults
  ([peers](../benchmarks/peers/README.md)). Who is slow gets a share of events, customers, history.
- Ours turns a day in each run: everybody is swept, a model is made. The more events, the less of that falls on each.
- A rate counts only where the output is right: the peers' records are a plain loop's, record by record; ours are
  verified by `segmenter verify`, and everybody's stored features are that loop's.
- CPU is that of the process and its children, and beside it the store's, by a measured event.
- One reader takes about 110,000 records a second of the output: raw-produce-librdkafka writes them faster than that.
"""


def written(document: Found) -> str:
    """Return the page."""
    blocks = [HEAD]
    for section, heading, write in (
        ("throughput", "Throughput", _contest),
        ("throughput_million", "Throughput of a million events", _contest),
        ("engines", "The other engines", _contest),
        ("latency", "Latency", _latency),
        ("growth", "Memory, growth, the sweep", _growth),
        ("workers", "Workers", _workers),
        ("bootstrap", "Bootstrap", _bootstrap),
        ("latency_million", "Latency among a million customers", _latency),
        ("growth_million", "Growth to a million customers", _growth),
        ("history", "A large history", _bootstrap),
    ):
        if section in document:
            found = document[section]
            blocks.append("\n".join([f"## {heading}", *write(found), "", _origin(found)]))
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _table(heads: str, rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield a table's lines. heads: as in Markdown, a `:` behind those of numbers."""
    names = [name.strip() for name in heads.split("|")]
    yield ""
    yield f"| {' | '.join(name.rstrip(':') for name in names)} |"
    yield f"|{'|'.join('---:' if name.endswith(':') else '---' for name in names)}|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _floors(floors: Iterable[Floor]) -> Iterator[str]:
    rows = [(f.what, f"{f.bound:,g}", f"{f.found:,.6g}", "holds" if f.holds else "**missed**") for f in floors]
    if rows:
        yield from _table("what | bound: | found: | ", rows)


def _contest(found: Found) -> Iterator[str]:
    stream = found["stream"]
    yield ""
    if found["quick"]:
        yield "**A quick run for the tests: no figure of it means anything.**"
    yield f"{stream['events']:,} events of {stream['customers']:,} customers after a warm-up of {stream['warm_up']:,};"
    yield f"{found['runs']} interleaved runs, the median."
    heads = "contestant | guarantee | events: | events/s: | scorings/s: | CPU us: | store's us: | output"
    yield from _table(heads, (_contestant(name, entry) for name, entry in found["peers"].items()))
    rows = (
        (
            f"{ours} to {other}",
            f"{ratio['events_s']:.2f}",
            ", ".join(f"{each:.2f}" for each in ratio["events_s_runs"]),
            f"{ratio['cpu']:.2f}",
        )
        for ours, others in found["ratios"].items()
        for other, ratio in others.items()
    )
    yield from _table("ratio | events/s: | in each run | CPU, store included:", rows)
    yield from _floors(contest(found))


def _contestant(name: str, entry: Found) -> Sequence[object]:
    median, told = entry["median"], (name, entry["guarantee"], f"{entry['events']:,}")
    if not median:
        return (*told, "", "", "", "", entry["runs"][0]["error"].splitlines()[0])
    scorings = "" if name.startswith("raw") else f"{median.get('scorings_s', median['events_s']):,.0f}"
    right = "right" if entry["right"] else "**wrong: no ratio**"
    return (*told, f"{median['events_s']:,.0f}", scorings, median["cpu_us"], median["store_cpu_us"] or "", right)


def _latency(found: Found) -> Iterator[str]:
    yield ""
    yield f"From the moment for which an event was scheduled, {found['rate']:,} a second in an open loop, to a"
    yield f"read_committed reader; {found['customers']:,} customers. The echo reads, writes and commits offsets in"
    yield "transactions, and does nothing else."
    rows = (
        (client, phase, *(found[client][phase][figure] for figure in ("p50", "p90", "p99", "max")))
        for client in ("kafka-python", "librdkafka")
        if client in found
        for phase in ("echo", "quiet", "swept")
    )
    yield from _table("client | phase | p50 ms: | p90 ms: | p99 ms: | max ms:", rows)
    yield from _floors(latency(found))


def _growth(found: Found) -> Iterator[str]:
    heads = "customers: | bytes each: | sweep s: | swept a CPU second: | store's us each: | events/s: | CPU us: | MiB:"
    rows = (
        (
            f"{size['customers']:,}",
            f"{size['bytes_a_customer']:.0f}",
            f"{size['swept_s']:.1f}",
            f"{size['swept_cpu']:,}",
            f"{size['store_us']:.1f}",
            f"{size['events_s']:,}",
            size["event_us"],
            size["rss"] >> 20,
        )
        for size in found["sizes"]
    )
    yield from _table(heads, rows)
    if paper := found.get("on_paper"):
        yield ""
        yield f"On paper, by a line through these: {paper['customers']:,} customers take {paper['store_gb']} GB of the"
        yield f"store, and a sweep of {paper['swept_s']} s by one worker."
    yield from _floors(growth(found))


def _workers(found: Found) -> Iterator[str]:
    yield ""
    yield f"{found['events']:,} events in eight partitions, by {found['client']}. Two cores hold workers, the broker"
    yield "and the store: the CPU an event tells what more workers cost, the rate only what two cores have."
    rows = (
        (row["workers"], f"{row['events_s']:,}", row["cpu_us"], ", ".join(f"{each:.0%}" for each in row["shares"]))
        for row in found["numbers"]
    )
    yield from _table("workers: | events/s: | CPU us an event: | shares of the events", rows)
    yield ""
    yield f"The longest time without an applied event, at {found['pauses']['rate']:,} events a second:"
    changes = {"join": "comes", "leave": "is ended (SIGTERM)", "kill": "is killed (-9), and its session times out"}
    pauses = [(name, found["pauses"][change]) for change, name in changes.items()]
    moved = ((name, row["moved"], row["moved_s"], row["stayed_s"]) for name, row in pauses)
    yield from _table("a worker | partitions moved: | theirs, s: | the others', s:", moved)
    yield from _floors(workers(found))


def _bootstrap(found: Found) -> Iterator[str]:
    yield ""
    yield f"{found['rows']:,} generated rows, {found['file_mib']:,} MiB; plain pandas reads and groups, no more."
    rows = (
        (name, f"{row['rows_a_second']:,}", row["wall_s"], row["cpu_s"], f"{row['peak_mib']:,}")
        for name, row in ((name, found[name]) for name in ("engine", "pandas"))
    )
    yield from _table("by | rows/s: | wall s: | CPU s: | peak MiB:", rows)


def _origin(found: Found) -> str:
    about = found["machine"]
    return (
        f"{found['made']}, `{found['command']}`, {found['took_s']} s. {about['cpu']}, {about['cores']} cores, "
        f"{about['memory_gb']} GB, Python {about['python']}; load before {about['load_before'][0]}."
    )
