"""What does a worker cost on kafka-python and on librdkafka? Interleaved pairs of runs on one broker and store.

    python -m benchmarks.kafka_clients [--pairs 3] [--events 150000]

Each run is one of benchmarks.throughput_pairs': a namespace, a topic filled beforehand, one `segmenter run` timed from
the first applied record to the last, sweeps included. The CPU is the worker's own (Linux alone tells it), by an event;
the ratio of a pair is kafka-python's over librdkafka's. Which of the two begins alternates.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from benchmarks.throughput_pairs import HERE, Run, history
from tests.harness.broker import find_broker, make_broker
from tests.harness.store import find_store, make_store

CLIENTS = ("kafka-python", "librdkafka")


def main() -> None:
    """Print each run, and the medians of rates, costs and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--events", type=int, default=150_000)
    given = parser.parse_args()
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGMENTER_TEST_")}
    seen: dict[str, list[tuple[float, float]]] = {client: [] for client in CLIENTS}
    with (
        tempfile.TemporaryDirectory(prefix="segmenter-clients-") as directory,
        make_broker(find_broker(own)) as broker,
        make_store(find_store(own)) as store,
    ):
        there = Path(directory)
        history(there / "history.csv")
        for n in range(given.pairs):
            for client in CLIENTS if n % 2 else reversed(CLIENTS):
                run = Run(HERE, broker.bootstrap, store.url, there)
                run.environment["SEGMENTER_KAFKA_CLIENT"] = client
                rate, by_cpu = run.rate(given.events)
                seen[client].append((rate, 1e6 / by_cpu))
                print(f"{client:13} {rate:8.0f} events/s   {1e6 / by_cpu:6.1f} us of CPU an event", flush=True)
    for client in CLIENTS:
        rate, cost = (statistics.median(each) for each in zip(*seen[client], strict=True))
        print(f"median {client:13} {rate:8.0f} events/s   {cost:6.1f} us of CPU an event")
    pairs = list(zip(seen["kafka-python"], seen["librdkafka"], strict=True))
    rates = statistics.median(now[0] / before[0] for before, now in pairs)
    costs = statistics.median(before[1] / now[1] for before, now in pairs)
    print(f"median of {given.pairs} pairs: librdkafka {rates:.2f} x the events a second, {costs:.2f} x by CPU seconds")


if __name__ == "__main__":
    main()
